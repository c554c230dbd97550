"""A whole image from a mirror of this test's making, up to what QEMU would be given."""

from __future__ import annotations

import fcntl
import importlib.util
import marshal
import os
import sys
import time

import pytest

from fsession.errors import GuestError
from fsession.guest import mirror as mirror_module
from fsession.guest.cache import cache_folder, locked, prune, write_atomically
from fsession.guest.cpio import file
from fsession.guest.debian import BASE
from fsession.guest.image import Wanted, image
from fsession.guest.kernels import machine
from fsession.guest.progress import Quiet
from fsession.guest.python import distribution_files, package_files, with_byte_code

from .debs import SmallMirror, deb
from .test_cpio import read
from .test_modules import module

ABI = "7.2.13-cloud-amd64"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fsession"


@pytest.fixture
def served(tmp_path, monkeypatch, cache):
    """A mirror below a ``file:`` URI with a kernel, the base packages and one more."""
    monkeypatch.setattr(mirror_module.signed_text, "__defaults__", (tmp_path / "no-keyring.gpg",))
    monkeypatch.setattr("fsession.guest.layers.distribution_files", lambda **_: [])
    monkeypatch.setattr("fsession.guest.layers.package_files", lambda: package_files()[-30:])
    root = tmp_path / "debian"
    base = {name: deb({f"usr/share/doc/{name}": b"", f"opt/{name}": b"1"}) for name in BASE}
    base["python3.11-minimal"] = deb({"usr/lib/python3.11/os.py": b"x = 1\n", "bin/ip": b"real"})
    SmallMirror(root, "bookworm", debs=base | {"more": deb({"opt/more": b"2"})}).write()
    SmallMirror(tmp_path / "debian-security", "bookworm-security").write()
    tree = f"usr/lib/modules/{ABI}"
    kernel = {
        f"linux-binary-{ABI}": deb({f"{tree}/vmlinuz": b"the image"}),
        f"linux-modules-{ABI}": deb({f"{tree}/kernel/veth.ko": module()}),
        f"linux-base-{ABI}": deb({f"{tree}/config": b"CONFIG_BPF=y\n"}),
    }
    SmallMirror(root, "sid", debs=kernel).write()
    return f"file://{root}"


def make(served, *packages: str, update: bool = False):
    wanted = Wanted("7.2", machine("amd64"), packages, served, update)
    return image(wanted, Quiet())


def test_what_qemu_gets(served) -> None:
    made = make(served, "more")
    assert made.kernel.read_bytes() == b"the image"
    content = b"".join(layer.read_bytes() for layer in made.layers)
    entries = {entry.path: entry.data for entry in read(content)}
    assert entries[f"boot/config-{ABI}"] == b"CONFIG_BPF=y\n"
    assert entries[f"usr/lib/modules/{ABI}/modules.dep"] == b"kernel/veth.ko.xz: \n"
    assert entries["opt/dash"] == b"1"
    assert entries["opt/more"] == b"2"
    assert entries["usr/bin/ip"] == b"real"
    assert entries["bin"] == b"usr/bin"
    assert entries["usr/bin/sh"] == b"dash"
    assert not [path for path in entries if path.startswith("usr/share/doc/")]
    assert "usr/bin/fsession" in entries


def test_a_warm_cache_needs_no_mirror(served) -> None:
    first = make(served)
    assert make("http://127.0.0.1:9/debian") == first


def test_an_update_asks_the_mirror(served) -> None:
    make(served)
    with pytest.raises(GuestError, match=r"127\.0\.0\.1:9"):
        make("http://127.0.0.1:9/debian", update=True)


def test_only_changed_layers_are_made_again(served, monkeypatch) -> None:
    first = make(served)
    changed = [*package_files(), file("usr/lib/python3/dist-packages/fsession/new.py", b"")]
    monkeypatch.setattr("fsession.guest.layers.package_files", lambda: changed)
    second = make(served)
    new = set(second.layers) - set(first.layers)
    assert [path.name.split("-")[0] for path in new] == ["package"]


def test_byte_code_is_what_python_3_11_takes_unchecked() -> None:
    if sys.version_info[:2] != (3, 11):
        pytest.skip("needs Python 3.11 to read it")
    source = file("usr/lib/x/mod.py", b"def f():\n    return 41 + 1\n")
    bad = file("usr/lib/x/bad.py", b"print 1\n")
    made = {entry.path: entry for entry in with_byte_code([source, bad], [sys.executable])}
    assert set(made) == {
        "usr/lib/x/mod.py", "usr/lib/x/bad.py", "usr/lib/x/__pycache__/mod.cpython-311.pyc",
    }  # fmt: skip
    content = made["usr/lib/x/__pycache__/mod.cpython-311.pyc"].data
    assert content[:4] == importlib.util.MAGIC_NUMBER
    assert content[4:8] == b"\1\0\0\0"  # PEP 552: by hash, not checked
    code = marshal.loads(content[16:])
    assert code.co_filename == "/usr/lib/x/mod.py"
    space: dict[str, object] = {}
    exec(code, space)
    assert space["f"]() == 42  # type: ignore[operator]


def test_no_interpreter_no_byte_code() -> None:
    source = file("a.py", b"")
    assert with_byte_code([source], []) == [source]


def test_the_package_goes_as_it_is() -> None:
    paths = {entry.path for entry in package_files()}
    assert "usr/lib/python3/dist-packages/fsession/errors.py" in paths
    assert "usr/lib/python3/dist-packages/fsession/py.typed" in paths
    assert not [path for path in paths if path.endswith((".pyc", ".so"))]


def test_distributions_go_with_their_metadata() -> None:
    paths = [entry.path for entry in distribution_files(["click", "no-such-distribution"])]
    assert "usr/lib/python3/dist-packages/click/__init__.py" in paths
    assert any(path.endswith("dist-info/METADATA") for path in paths)
    assert not [path for path in paths if ".." in path or path.endswith(".pyc")]


def test_a_distribution_with_native_code_stays_here() -> None:
    if importlib.util.find_spec("numpy") is None:
        pytest.skip("needs numpy")
    assert list(distribution_files(["numpy"])) == []


def test_the_cache_is_where_xdg_says(cache, monkeypatch, tmp_path) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home/.cache/fsession"


def test_a_lock_that_another_process_has_is_waited_for(cache) -> None:
    said: list[str] = []
    with locked("x.lock", lambda: said.append("never")):
        pass
    holder = (cache / "x.lock").open("w")
    fcntl.flock(holder, fcntl.LOCK_EX)
    with locked("x.lock", lambda: (said.append("waiting"), holder.close())):
        pass
    assert said == ["waiting"]


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr("pathlib.Path.replace", _fail)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, b"new")
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def _fail(*words: object) -> None:
    raise OSError("full")


def test_layers_nobody_uses_go(tmp_path) -> None:
    day = 24 * 60 * 60
    ages = {"package-a": 2, "package-b": 0.5, "base-a": 10, "base-b": 20, "base-c": 20}
    for name, days in ages.items():
        path = tmp_path / f"{name}.cpio"
        path.write_bytes(b"")
        os.utime(path, times=(0, time.time() - days * day))
    prune(tmp_path, used=[tmp_path / "base-c.cpio"])
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["base-a", "base-c", "package-b"]
