"""Files that go into a guest with its image, and files that come out of it at the end."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.errors import BadInputError, GuestError
from fsession.guest.cpio import Entry, directory, file, symlink

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Mapping

__all__ = ["copied", "extract"]


def copied(copies: Mapping[str, str]) -> Iterator[Entry]:
    """Each file or folder of `copies` (here to there) as entries. A folder goes with all in it."""
    for here, there in copies.items():
        source = Path(here)
        if not there.startswith("/"):
            raise BadInputError(f"the place in the guest must be absolute: '{there}'")
        if not source.exists():
            raise BadInputError(f"nothing to copy into the guest at '{here}'")
        target = _merged(there.strip("/"))
        if source.is_dir():
            yield from _folder(source, target)
        else:
            yield _file(source, target)


def extract(tar: io.BytesIO, outputs: Mapping[str, str]) -> list[str]:
    """Write what the guest sent in `tar` to the places `outputs` (there to here) says.

    Returns those places in the guest where there was nothing.
    """
    missing: list[str] = []
    if not tar.getbuffer():
        return list(outputs)
    tar.seek(0)
    try:
        with tarfile.open(fileobj=tar) as archive:
            members = {member.name.rstrip("/"): member for member in archive}
            for there, here in outputs.items():
                name = there.strip("/")
                if name in members:
                    _extract_one(archive, members, name, Path(here))
                else:
                    missing.append(there)
    except tarfile.TarError as error:
        raise GuestError(f"the files of the guest did not arrive ({error})") from error
    return missing


def _extract_one(
    archive: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], name: str, here: Path
) -> None:
    for path, member in members.items():
        if path != name and not path.startswith(f"{name}/"):
            continue
        content = archive.extractfile(member) if member.isfile() else None
        target = here / path.removeprefix(name).lstrip("/")
        if ".." in Path(path).parts:
            raise GuestError(f"the guest sent a path that leads out of its place: '{path}'")
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
        elif content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())


def _folder(source: Path, target: str) -> Iterator[Entry]:
    yield directory(target)
    for path in sorted(source.rglob("*")):
        place = f"{target}/{path.relative_to(source)}"
        if "__pycache__" in path.parts:
            continue
        if path.is_symlink():
            yield symlink(place, str(path.readlink()))
        elif path.is_dir():
            yield directory(place)
        elif path.is_file():
            yield _file(path, place)


def _file(path: Path, target: str) -> Entry:
    return file(target, path.read_bytes(), executable=os.access(path, os.X_OK))


def _merged(path: str) -> str:
    """``bin`` is a link in the guest, and the kernel does not follow links when it unpacks."""
    return f"usr/{path}" if path.split("/")[0] in ("bin", "sbin", "lib", "lib64") else path
