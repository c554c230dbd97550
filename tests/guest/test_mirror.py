"""Downloads from a mirror that this test serves: hashes, resuming, what goes wrong."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from fsession.errors import GuestError
from fsession.guest import mirror as mirror_module
from fsession.guest.mirror import MirrorArchive, Wanted, download, signed_text, wanted_index
from fsession.guest.progress import Quiet
from fsession.guest.sources import Mirror, mirror_at

from .debs import SmallMirror, deb

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = bytes(range(256)) * 4000
WANTED = Wanted("big", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Server(ThreadingHTTPServer):
    """Serves `root`; closes the connection early as often as `cuts` says; knows ranges or not."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.cuts = 0
        self.ranges = True
        self.asked: list[tuple[str, str]] = []

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range", "")))
        path = self.server.root / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        first = 0
        if self.server.ranges and "Range" in self.headers:
            first = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        rest = content[first:]
        if self.server.cuts:
            self.server.cuts -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)
        self.wfile.flush()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "served"
    root.mkdir()
    (root / "big").write_bytes(CONTENT)
    with Server(root) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.mark.parametrize("ranges", [True, False], ids=["206", "200"])
def test_a_cut_download_goes_on(server, tmp_path, ranges) -> None:
    server.cuts, server.ranges = (2, True) if ranges else (1, False)
    seen: list[int] = []
    download(f"{server.uri}/big", WANTED, tmp_path / "to/big", seen.append)
    assert (tmp_path / "to/big").read_bytes() == CONTENT
    half = len(CONTENT) // 2
    ranged = [asked for _, asked in server.asked]
    assert ranged[:2] == ["", f"bytes={half}-"]
    assert seen[-1] == len(CONTENT)
    assert not (tmp_path / "to/big.part").exists()


def test_what_an_earlier_run_left_is_used(server, tmp_path) -> None:
    (tmp_path / "big.part").write_bytes(CONTENT[:1000])
    download(f"{server.uri}/big", WANTED, tmp_path / "big", lambda done: None)
    assert server.asked == [("/big", "bytes=1000-")]
    assert (tmp_path / "big").read_bytes() == CONTENT


def test_a_part_that_is_whole_is_not_asked_for(server, tmp_path) -> None:
    (tmp_path / "big.part").write_bytes(CONTENT)
    download(f"{server.uri}/big", WANTED, tmp_path / "big", lambda done: None)
    assert server.asked == []


def test_wrong_content_is_refused_and_not_kept(server, tmp_path) -> None:
    (server.root / "big").write_bytes(CONTENT[::-1])
    with pytest.raises(GuestError, match="not the file the mirror's index promises"):
        download(f"{server.uri}/big", WANTED, tmp_path / "big", lambda done: None)
    assert list(tmp_path.glob("big*")) == []


def test_connections_that_always_end_early(server, tmp_path) -> None:
    server.cuts = 99
    server.ranges = False
    with pytest.raises(GuestError, match="the connection ended after"):
        download(f"{server.uri}/big", WANTED, tmp_path / "big", lambda done: None)
    assert (tmp_path / "big.part").stat().st_size == len(CONTENT) // 2


def test_a_file_that_is_gone_is_asked_for_once(server, tmp_path) -> None:
    with pytest.raises(GuestError, match="404") as caught:
        download(f"{server.uri}/gone", WANTED, tmp_path / "gone", lambda done: None)
    assert "--update" in caught.value.__notes__[0]
    assert len(server.asked) == 1


def test_a_mirror_nobody_answers_at(tmp_path) -> None:
    archive = MirrorArchive(mirror_at("http://127.0.0.1:9/debian"), "amd64", tmp_path, Quiet())
    with pytest.raises(GuestError, match=r"can't fetch http://127\.0\.0\.1:9"):
        archive.index("bookworm")


class Notes(Quiet):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def no_keyring(monkeypatch, tmp_path) -> Path:
    keyring = tmp_path / "no-keyring.gpg"
    monkeypatch.setattr(mirror_module.signed_text, "__defaults__", (keyring,))
    return keyring


@pytest.mark.parametrize("by_hash", [True, False], ids=["by hash", "by name"])
def test_from_release_to_package(server, tmp_path, no_keyring, by_hash) -> None:
    content = deb({"a": b"1"})
    SmallMirror(server.root, debs={"small": content}, by_hash=by_hash).write()
    notes = Notes()
    archive = MirrorArchive(Mirror(server.uri, server.uri), "amd64", tmp_path / "cache", notes)
    package = archive.index("bookworm").find("small")
    assert package is not None
    (path,) = archive.fetch([package])
    assert path.read_bytes() == content
    assert "signature was not checked" in notes.notes[0]
    assert no_keyring.name in notes.notes[0] or "gpgv" in notes.notes[0]
    asked = len(server.asked)
    archive.index("bookworm")
    archive.fetch([package])
    assert len(server.asked) == asked
    archive.index("bookworm", update=True)
    assert len(server.asked) == asked + 2


def test_an_index_that_is_not_what_the_release_promises(server, tmp_path, no_keyring) -> None:
    SmallMirror(server.root, debs={"small": b"x"}).write()
    index = server.root / "dists/bookworm/main/binary-amd64/Packages.xz"
    index.write_bytes(index.read_bytes()[:-1] + b"?")
    archive = MirrorArchive(Mirror(server.uri, server.uri), "amd64", tmp_path / "cache", Quiet())
    with pytest.raises(GuestError, match="not the file"):
        archive.index("bookworm")


def test_an_architecture_the_mirror_lacks() -> None:
    release = "SHA256:\n 00 1 main/binary-amd64/Packages.xz\n"
    with pytest.raises(GuestError, match="no packages of sid for arm64"):
        wanted_index(release, "sid", "arm64")


def test_a_signature_that_is_no_signature(server) -> None:
    if not (mirror_module.KEYRING.exists() and mirror_module.shutil.which("gpgv")):
        pytest.skip("needs gpgv and Debian's keyring")
    SmallMirror(server.root).write()
    signed = (server.root / "dists/bookworm/InRelease").read_bytes()
    with pytest.raises(GuestError, match="not signed by Debian"):
        signed_text(signed, Quiet())
