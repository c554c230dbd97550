"""Unpacking packages: made here, and by dpkg-deb where there is one."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import shutil
import stat
import subprocess
import tarfile

import pytest

from fsession.errors import BadInputError
from fsession.guest.cpio import Entry
from fsession.guest.deb import ar_members, unpack

from .debs import ar, deb, tar

FILES: dict[str, bytes | str] = {
    "lib/": b"",
    "lib/x.so.1": b"elf",
    "lib/x.so": "x.so.1",
    "usr/": b"",
    "usr/bin/tool": b"#!",
}


def test_files_links_and_folders_below_usr() -> None:
    entries = {entry.path: entry for entry in unpack(deb(FILES, 0o755), "small")}
    assert entries == {
        "usr": Entry("usr", stat.S_IFDIR | 0o755),
        "usr/lib": Entry("usr/lib", stat.S_IFDIR | 0o755),
        "usr/lib/x.so.1": Entry("usr/lib/x.so.1", stat.S_IFREG | 0o755, b"elf"),
        "usr/lib/x.so": Entry("usr/lib/x.so", stat.S_IFLNK | 0o777, b"x.so.1"),
        "usr/bin/tool": Entry("usr/bin/tool", stat.S_IFREG | 0o755, b"#!"),
    }


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress, bytes], ids=["xz", "gz", "plain"])
def test_compressions(pack) -> None:
    package = ar({"debian-binary": b"2.0\n", "data.tar": pack(tar({"a": b"1"}))})
    assert [entry.data for entry in unpack(package, "small")] == [b"1"]


def test_a_hard_link_is_a_file_of_its_own() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        first = tarfile.TarInfo("./etc/a")
        first.size = 3
        archive.addfile(first, io.BytesIO(b"abc"))
        second = tarfile.TarInfo("./etc/b")
        second.type, second.linkname = tarfile.LNKTYPE, "./etc/a"
        archive.addfile(second)
    entries = list(unpack(ar({"data.tar": out.getvalue()}), "small"))
    assert [(entry.path, entry.data) for entry in entries] == [("etc/a", b"abc"), ("etc/b", b"abc")]


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb to compare with")
def test_dpkg_deb_sees_the_same(tmp_path) -> None:
    path = tmp_path / "small.deb"
    path.write_bytes(deb(FILES))
    subprocess.run(["dpkg-deb", "-x", path, tmp_path / "root"], check=True)
    for entry in unpack(path.read_bytes(), "small"):
        if stat.S_ISREG(entry.mode):
            there = tmp_path / "root" / entry.path
            other = tmp_path / "root" / entry.path.removeprefix("usr/")
            assert (there if there.exists() else other).read_bytes() == entry.data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04", "not a Debian package"),
        (b"!<arch>\n" + b"x" * 60, "bad member header"),
        (deb(FILES)[:300], "cut short"),
        (ar({"debian-binary": b"2.0\n"}), "no data archive"),
        (ar({"data.tar.xz": b"not xz"}), "can't be unpacked"),
    ],
    ids=["zip", "header", "cut", "no data", "no xz"],
)
def test_what_is_no_package(content, words) -> None:
    with pytest.raises(BadInputError, match=words):
        list(unpack(content, "small.deb"))


def test_changed_bytes_are_refused_in_words(seeded) -> None:
    good = deb(FILES)
    for _ in range(400):
        bad = bytearray(good)
        for _ in range(seeded.randint(1, 4)):
            bad[seeded.randrange(len(bad))] = seeded.randrange(256)
        with contextlib.suppress(BadInputError):
            list(unpack(bytes(bad), "small.deb"))


def test_odd_members_are_padded() -> None:
    members = {"a": b"123", "b": b"4567", "c": b"8"}
    assert dict(ar_members(ar(members), "x")) == members
