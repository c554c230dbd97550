"""Small Debian packages, indexes and mirrors for tests, made on the spot."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def tar(files: dict[str, bytes | str], mode: int = 0o644) -> bytes:
    """A tar archive: bytes are a file, a string is a link, a name that ends in / is a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.mode = mode
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            elif name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def ar(members: dict[str, bytes]) -> bytes:
    """An ``ar`` archive."""
    out = [b"!<arch>\n"]
    for name, data in members.items():
        out.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
        out += [data, b"\n" * (len(data) % 2)]
    return b"".join(out)


def deb(files: dict[str, bytes | str], mode: int = 0o644, name: str = "small") -> bytes:
    """A package with `files`."""
    control = (
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y>\nDescription: x\n"
    )
    return ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": lzma.compress(tar({"control": control.encode()})),
            "data.tar.xz": lzma.compress(tar(files, mode)),
        }
    )


def stanza(name: str, version: str = "1", **fields: str) -> str:
    """A paragraph of a ``Packages`` file."""
    known = {
        "Architecture": "amd64",
        "Filename": f"pool/{name}_{version}.deb",
        "Size": "10",
        "SHA256": "00",
    }
    rows = known | {field.replace("_", "-"): value for field, value in fields.items()}
    lines = [f"Package: {name}", f"Version: {version}", *(f"{k}: {v}" for k, v in rows.items())]
    return "\n".join(lines) + "\n"


@dataclass
class SmallMirror:
    """A mirror's folder with one suite; `debs` by name."""

    root: Path
    suite: str = "bookworm"
    arch: str = "amd64"
    debs: dict[str, bytes] = field(default_factory=dict)
    by_hash: bool = False
    suffix: str = ".xz"

    def write(self) -> None:
        """Write the packages, their index, and the release file."""
        (self.root / "pool").mkdir(parents=True, exist_ok=True)
        rows = []
        for name, content in self.debs.items():
            (self.root / f"pool/{name}_1.deb").write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            rows.append(stanza(name, Size=str(len(content)), SHA256=digest))
        packed = lzma.compress("\n".join(rows).encode())
        digest = hashlib.sha256(packed).hexdigest()
        place = f"main/binary-{self.arch}"
        file = f"by-hash/SHA256/{digest}" if self.by_hash else f"Packages{self.suffix}"
        index = self.root / "dists" / self.suite / place / file
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_bytes(packed)
        release = (
            f"Origin: Debian\nSuite: {self.suite}\n"
            f"Acquire-By-Hash: {'yes' if self.by_hash else 'no'}\nMD5Sum:\n 00 1 x\n"
            f"SHA256:\n {digest} {len(packed)} {place}/Packages{self.suffix}\n"
        )
        signed = (
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n"
            f"{release}-----BEGIN PGP SIGNATURE-----\n\nnone\n-----END PGP SIGNATURE-----\n"
        )
        (self.root / "dists" / self.suite / "InRelease").write_text(signed)
