"""Packages from a mirror that was named, by HTTP: for machines whose apt knows no Debian.

Each file is checked by a hash from the one before: ``InRelease`` (signed), ``Packages``, ``.deb``.
Downloads go on where they stopped. Proxies are those of the environment (``http_proxy``).
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import lzma
import re
import shutil
import subprocess
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.errors import GuestError
from fsession.frozen import frozen
from fsession.guest.cache import write_atomically
from fsession.guest.index import Index, Package, parse_stanza

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.guest.progress import Advance, Progress
    from fsession.guest.sources import Mirror

__all__ = ["KEYRING", "MirrorArchive", "Wanted", "download", "signed_text", "wanted_index"]

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TRIES = 3
_TIMEOUT_S = 30
_CHUNK_BYTES = 1 << 18


@frozen
class Wanted:
    """A file of the mirror as it must be: `path` below the mirror, `size` in bytes."""

    path: str
    size: int
    sha256: str


@frozen
class MirrorArchive:
    """An archive below `folder` that is filled from `mirror`; `debian` names the architecture."""

    mirror: Mirror
    debian: str
    folder: Path
    progress: Progress

    def index(self, suite: str, *, update: bool = False) -> Index:
        """See `Archive.index`."""
        place = hashlib.sha256(self.mirror.uri(suite).encode()).hexdigest()[:12]
        kept = self.folder / "mirrors" / place / f"{suite}-{self.debian}.Packages"
        if update or not kept.exists():
            release = signed_text(self._release(suite), self.progress)
            wanted = wanted_index(release, suite, self.debian)
            packed = kept.with_name(f"{kept.name}.{wanted.sha256[:16]}")
            uri = f"{self.mirror.uri(suite)}/{wanted.path}"
            with self.progress.bar(f"fetching the package index of {suite}", wanted.size) as bar:
                download(uri, wanted, packed, bar)
            write_atomically(kept, _unpacked(packed.read_bytes(), suite))
            packed.unlink()
        return Index(kept.read_text("utf-8", "replace"), suite)

    def fetch(self, packages: Sequence[Package]) -> list[Path]:
        """See `Archive.fetch`."""
        debs = self.folder / "debs"
        missing = [item for item in packages if not (debs / item.deb_name).exists()]
        if missing:
            label = missing[0].name + (f" and {len(missing) - 1} more" if missing[1:] else "")
            total = sum(package.size for package in missing)
            with self.progress.bar(f"downloading {label}", total) as advance:
                self._download(missing, debs, advance)
        return [debs / package.deb_name for package in packages]

    def _download(self, packages: Sequence[Package], debs: Path, advance: Advance) -> None:
        before = 0
        for package in packages:
            uri = f"{self.mirror.uri(package.suite)}/{package.filename}"
            wanted = Wanted(package.filename, package.size, package.sha256)
            download(uri, wanted, debs / package.deb_name, _after(before, advance))
            before += package.size

    def _release(self, suite: str) -> bytes:
        uri = f"{self.mirror.uri(suite)}/dists/{suite}/InRelease"
        try:
            with urllib.request.urlopen(uri, timeout=_TIMEOUT_S) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            error.close()
            raise _unreachable(uri, error) from error
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(uri, error) from error


def _after(before: int, advance: Advance) -> Advance:
    """Tells `advance` of one of several files, with `before` bytes of others done."""
    return lambda done: advance(before + done)


def wanted_index(release: str, suite: str, debian: str) -> Wanted:
    """The ``Packages`` file of component main that a ``Release`` file promises."""
    fields = parse_stanza(release)
    rows = [row.split() for row in fields.get("sha256", "").splitlines() if row.strip()]
    files = {row[2]: (row[0], int(row[1])) for row in rows if len(row) == 3 and row[1].isdigit()}
    for suffix in (".xz", ".gz"):
        name = f"main/binary-{debian}/Packages{suffix}"
        if name in files:
            digest, size = files[name]
            if fields.get("acquire-by-hash") == "yes":
                name = f"main/binary-{debian}/by-hash/SHA256/{digest}"
            return Wanted(f"dists/{suite}/{name}", size, digest)
    raise GuestError(f"the mirror has no packages of {suite} for {debian}")


def signed_text(inrelease: bytes, progress: Progress, keyring: Path = KEYRING) -> str:
    """The text of a clear-signed file, its signature checked if this machine can."""
    gpgv = shutil.which("gpgv")
    if gpgv and keyring.exists():
        done = subprocess.run(
            [gpgv, "--quiet", "--keyring", str(keyring), "--output", "-"],
            input=inrelease,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason"]
            raise GuestError(f"the mirror's InRelease is not signed by Debian: {said[-1]}").hint(
                "use another mirror, or bring the package debian-archive-keyring up to date"
            )
        return done.stdout.decode("utf-8", "replace")
    missing = f"there is no {keyring}" if gpgv else "gpgv is not installed"
    progress.note(f"the mirror's signature was not checked, only hashes are: {missing}")
    return _without_armor(inrelease.decode("utf-8", "replace"))


def _without_armor(text: str) -> str:
    """What stands between the marks of a clear-signed message (RFC 9580, section 7)."""
    match = re.search(
        r"-----BEGIN PGP SIGNED MESSAGE-----\n(?:\w+: .*\n)*\n(.*?)\n-----BEGIN PGP SIGNATURE",
        text,
        re.DOTALL,
    )
    return re.sub(r"^- ", "", match[1], flags=re.MULTILINE) if match else text


def download(uri: str, wanted: Wanted, target: Path, advance: Advance) -> None:
    """Fetch `uri` to `target`, going on with what an earlier try left in ``TARGET.part``."""
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(_TRIES)):
        try:
            _fetch_rest(uri, part, wanted.size, advance)
            break
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            if left == 0 or error.code < 500:
                raise _unreachable(uri, error) from error
        except (OSError, http.client.HTTPException) as error:
            if left == 0:
                raise _unreachable(uri, error) from error
    if hashlib.sha256(part.read_bytes()).hexdigest() != wanted.sha256:
        part.unlink()
        raise GuestError(f"{uri} is not the file the mirror's index promises").hint(
            "try again; if it stays so, the mirror is broken: name another with --mirror URL"
        )
    part.replace(target)


def _fetch_rest(uri: str, part: Path, size: int, advance: Advance) -> None:
    """Append what is missing of `size` bytes; OSError if the connection ends before."""
    have = part.stat().st_size if part.exists() else 0
    if have == size:
        return
    if have > size:
        part.unlink()
        have = 0
    request = urllib.request.Request(uri, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        if answer.status != 206:  # 206 Partial Content: the range was understood
            have = 0
        with part.open("ab" if have else "wb") as stream:
            while have < size and (chunk := answer.read(min(_CHUNK_BYTES, size - have))):
                stream.write(chunk)
                have += len(chunk)
                advance(have)
    if have < size:
        raise ConnectionError(f"the connection ended after {have} of {size} bytes")


def _unpacked(packed: bytes, suite: str) -> bytes:
    try:
        return gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else lzma.decompress(packed)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise GuestError(f"the package index of {suite} can't be unpacked ({error})") from error


def _unreachable(uri: str, error: Exception) -> GuestError:
    failed = GuestError(f"can't fetch {uri}: {error}")
    failed.hint("check the network and http_proxy; --update looks for what the mirror has now")
    return failed
