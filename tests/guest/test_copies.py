"""Files into a guest and out of it."""

from __future__ import annotations

import io
import stat
import tarfile

import pytest

from fsession.errors import BadInputError, GuestError
from fsession.guest.copies import copied, extract

from .debs import tar


def test_a_folder_goes_with_all_in_it(tmp_path) -> None:
    source = tmp_path / "src"
    (source / "sub/__pycache__").mkdir(parents=True)
    (source / "sub/__pycache__/x.pyc").write_bytes(b"")
    (source / "sub/tool").write_bytes(b"#!")
    (source / "sub/tool").chmod(0o755)
    (source / "link").symlink_to("sub/tool")
    (source / "empty").mkdir()
    entries = {entry.path: entry for entry in copied({str(source): "/root/there/"})}
    assert sorted(entries) == [
        "root/there", "root/there/empty", "root/there/link", "root/there/sub",
        "root/there/sub/tool",
    ]  # fmt: skip
    assert entries["root/there/sub/tool"].mode == stat.S_IFREG | 0o755
    assert entries["root/there/link"].data == b"sub/tool"


def test_a_place_in_bin_is_one_in_usr(tmp_path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    (entry,) = copied({str(tmp_path / "f"): "/bin/f"})
    assert entry.path == "usr/bin/f"


@pytest.mark.parametrize(
    ("there", "exists", "words"),
    [("relative", True, "must be absolute"), ("/x", False, "nothing to copy")],
)
def test_copies_that_make_no_sense(tmp_path, there, exists, words) -> None:
    source = tmp_path / "f"
    if exists:
        source.write_bytes(b"")
    with pytest.raises(BadInputError, match=words):
        list(copied({str(source): there}))


def test_files_and_folders_come_out(tmp_path) -> None:
    sent = tar(
        {"root/o/": b"", "root/o/d/": b"", "root/o/d/f": b"1", "etc/x": b"2", "etc/xy": b"3"}
    )
    wanted = {"/root/o/": str(tmp_path / "out"), "/etc/x": str(tmp_path / "deep/x"), "/no": "never"}
    missing = extract(io.BytesIO(_without_dot(sent)), wanted)
    assert missing == ["/no"]
    assert (tmp_path / "out/d/f").read_bytes() == b"1"
    assert (tmp_path / "deep/x").read_bytes() == b"2"
    assert not (tmp_path / "deep/xy").exists()


def test_nothing_was_sent() -> None:
    assert extract(io.BytesIO(), {"/a": "a"}) == ["/a"]
    assert extract(io.BytesIO(), {}) == []


def test_a_path_that_leads_out_is_refused(tmp_path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("o", "o/../../evil"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name == "o" else tarfile.REGTYPE
            archive.addfile(info, io.BytesIO())
    with pytest.raises(GuestError, match="leads out"):
        extract(out, {"/o": str(tmp_path / "o")})


def test_what_is_no_archive(tmp_path) -> None:
    with pytest.raises(GuestError, match="did not arrive"):
        extract(io.BytesIO(b"x" * 2000), {"/o": str(tmp_path)})


def _without_dot(archive: bytes) -> bytes:
    """The same archive with names as busybox writes them: without ``./`` before them."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=out, mode="w") as new,
    ):
        for member in old:
            content = old.extractfile(member) if member.isfile() else None
            member.name = member.name.removeprefix("./")
            new.addfile(member, content)
    return out.getvalue()
