"""initramfs archives, read back by a reader of our own and by cpio where there is one."""

from __future__ import annotations

import shutil
import stat
import subprocess

import pytest

from fsession.guest.cpio import Entry, archive, directory, file, symlink

ENTRIES = [
    file("a", b""),
    file("usr/bin/tool", b"x" * 5, executable=True),
    symlink("usr/bin/link", "tool"),
    directory("tmp", 0o1777),
    file("usr/share/n\u00e4me", bytes(range(256)) * 20),
]


def read(data: bytes) -> list[Entry]:
    """All entries of a newc archive, or of several one after the other."""
    found, place = [], 0
    while place < len(data):
        if data[place] == 0:
            place += 1
            continue
        assert data[place : place + 6] == b"070701"
        fields = [int(data[place + at : place + at + 8], 16) for at in range(6, 110, 8)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[place + 110 : place + 110 + name_size]
        assert name.endswith(b"\0")
        start = place + (110 + name_size + 3 & ~3)
        found.append(Entry(name[:-1].decode(), mode, data[start : start + size]))
        place = start + (size + 3 & ~3)
    return found


def test_entries_come_back_with_their_folders() -> None:
    *found, trailer = read(archive(ENTRIES))
    assert trailer.path == "TRAILER!!!"
    assert {entry for entry in found if not stat.S_ISDIR(entry.mode)} == {
        entry for entry in ENTRIES if not stat.S_ISDIR(entry.mode)
    }
    folders = {entry.path: stat.S_IMODE(entry.mode) for entry in found if stat.S_ISDIR(entry.mode)}
    assert folders == {"tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755, "usr/share": 0o755}


def test_a_folder_comes_before_what_is_in_it() -> None:
    paths = [entry.path for entry in read(archive(ENTRIES))]
    assert all(paths.index("usr/bin") < paths.index(path) for path in paths if "usr/bin/" in path)


def test_the_last_of_two_entries_is_kept() -> None:
    found = read(archive([symlink("bin/ip", "busybox"), file("bin/ip", b"real")]))
    assert [entry.data for entry in found if entry.path == "bin/ip"] == [b"real"]


def test_archives_can_follow_each_other() -> None:
    both = archive([file("a", b"1")]) + archive([file("b", b"2")])
    assert [entry.path for entry in read(both)] == ["a", "TRAILER!!!", "b", "TRAILER!!!"]
    assert len(archive(ENTRIES)) % 512 == 0


def test_the_same_entries_give_the_same_bytes() -> None:
    assert archive(ENTRIES) == archive(reversed(ENTRIES))


def _cpio() -> list[str] | None:
    if shutil.which("cpio"):
        return ["cpio"]
    return ["busybox", "cpio"] if shutil.which("busybox") else None


@pytest.mark.skipif(_cpio() is None, reason="needs cpio or busybox to compare with")
def test_cpio_unpacks_it(tmp_path) -> None:
    done = subprocess.run(
        [*(_cpio() or []), "-idm"], input=archive(ENTRIES), cwd=tmp_path, check=True,
        capture_output=True,
    )  # fmt: skip
    assert b"rror" not in done.stderr
    for entry in ENTRIES:
        path = tmp_path / entry.path
        if stat.S_ISLNK(entry.mode):
            assert str(path.readlink()) == entry.data.decode()
        else:
            assert path.stat().st_mode == entry.mode
        if stat.S_ISREG(entry.mode):
            assert path.read_bytes() == entry.data
