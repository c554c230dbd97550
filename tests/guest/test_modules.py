"""Kernel modules: what their .modinfo says, the indexes modprobe reads."""

from __future__ import annotations

import lzma

import pytest

from fsession.guest.cpio import Entry, file
from fsession.guest.modules import (
    find_release,
    indexed,
    load_order,
    module_name,
    read_module,
    tree_entries,
)

RELEASE = "7.2.13-cloud-amd64"
TREE = f"usr/lib/modules/{RELEASE}"


def module(depends: str = "", *aliases: str) -> bytes:
    """As much of a module as is looked at: NUL-terminated strings among other bytes."""
    strings = [f"alias={alias}" for alias in aliases] + [f"depends={depends}", "license=GPL"]
    return b"\x7fELF\0\0depends on\0" + b"".join(text.encode() + b"\0" for text in strings)


CONTENTS = {
    "kernel/net/nf_conntrack.ko": module("nf_defrag_ipv4,nf-defrag-ipv6", "ip_conntrack"),
    "kernel/net/nf_defrag_ipv4.ko": module(),
    "kernel/net/nf-defrag-ipv6.ko": module("lib"),
    "kernel/lib/lib.ko": module(),
    "kernel/drivers/net/veth.ko": module("", "rtnl-link-veth"),
}


def tree() -> list[Entry]:
    """A package's modules: some plain, one compressed, and the list of those built in."""
    entries = [file(f"{TREE}/{path}", content) for path, content in CONTENTS.items()]
    packed = lzma.compress(module(), check=lzma.CHECK_CRC32)
    entries.append(file(f"{TREE}/kernel/lib/packed.ko.xz", packed))
    return [*entries, file(f"{TREE}/modules.builtin", b"kernel/x.ko\n")]


def test_the_indexes() -> None:
    entries = {entry.path: entry.data for entry in indexed(tree(), RELEASE)}
    dep = dict(line.split(":") for line in entries[f"{TREE}/modules.dep"].decode().splitlines())
    assert dep["kernel/net/nf_conntrack.ko.xz"].split() == [
        "kernel/net/nf-defrag-ipv6.ko.xz", "kernel/lib/lib.ko.xz",
        "kernel/net/nf_defrag_ipv4.ko.xz",
    ]  # fmt: skip
    assert dep["kernel/lib/packed.ko.xz"] == " "
    assert entries[f"{TREE}/modules.alias"].decode().splitlines() == [
        "alias ip_conntrack nf_conntrack", "alias rtnl-link-veth veth",
    ]  # fmt: skip
    assert lzma.decompress(entries[f"{TREE}/kernel/lib/lib.ko.xz"]) == module()
    assert f"{TREE}/kernel/lib/lib.ko" not in entries
    assert entries[f"{TREE}/modules.builtin"] == b"kernel/x.ko\n"


def test_a_module_comes_after_those_it_needs() -> None:
    modules = {module_name(path): read_module(path, data) for path, data in CONTENTS.items()}
    names = [item.name for item in load_order("nf_conntrack", modules)]
    assert names[-1] == "nf_conntrack"
    assert names.index("lib") < names.index("nf_defrag_ipv6")
    assert load_order("absent", modules) == []


def test_modules_that_need_each_other_end() -> None:
    modules = {name: read_module(f"{name}.ko", module(other)) for name, other in ("ab", "ba")}
    assert len(load_order("a", modules)) == 2


@pytest.mark.parametrize(
    ("path", "name"),
    [("kernel/a/nf-log.ko.xz", "nf_log"), ("veth.ko", "veth"), ("x.ko.zst", "x.ko.zst")],
)
def test_module_name(path, name) -> None:
    assert module_name(path) == name


def test_the_release_is_the_name_of_the_folder() -> None:
    assert find_release(tree()) == RELEASE
    assert find_release([file("boot/vmlinuz-1", b"")]) is None


def test_a_tree_on_disk(tmp_path) -> None:
    for path, content in CONTENTS.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    (tmp_path / "kernel/x.ko.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    entries = tree_entries(tmp_path, RELEASE, ["nf_conntrack", "x", "none"])
    assert [entry.path.rpartition("/")[2] for entry in entries] == [
        "lib.ko", "nf_conntrack.ko", "nf_defrag_ipv4.ko", "nf-defrag-ipv6.ko",
    ]  # fmt: skip
