"""apt's source lists: which mirror this machine uses."""

from __future__ import annotations

import pytest

from fsession.errors import UnsupportedError
from fsession.guest.sources import (
    MIRROR_VARIABLE,
    Mirror,
    Source,
    configured_mirror,
    mirror_at,
    parse_deb822,
    parse_one_line,
    read_sources,
)

ONE_LINE = [
    ("deb http://m.example/debian sid main", Source("http://m.example/debian", "sid", ("main",))),
    (
        "  deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian/ trixie main contrib # c",
        Source("http://m.example/debian", "trixie", ("main", "contrib"), "/k.gpg"),
    ),
    (
        "deb\t[ signed-by=/k.gpg ]\thttp://m.example/d\tsid\tmain",
        Source("http://m.example/d", "sid", ("main",), "/k.gpg"),
    ),
    ("deb http://m.example/debian ./", Source("http://m.example/debian", "./", ())),
    ("deb-src http://m.example/debian sid main", None),
    ("# deb http://m.example/debian sid main", None),
    ("", None),
]


@pytest.mark.parametrize(("line", "source"), ONE_LINE)
def test_one_line(line, source) -> None:
    assert list(parse_one_line(line)) == ([source] if source else [])


DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://m.example/debian/ http://n.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /k.gpg

Types: deb-src
URIs: http://m.example/debian
Suites: sid
Components: main

Enabled: no
Types: deb
URIs: http://m.example/debian
Suites: sid
Components: main

Types: deb
URIs: http://k.example/debian
Suites: sid
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"""


def test_deb822() -> None:
    assert list(parse_deb822(DEB822)) == [
        Source("http://m.example/debian", "trixie", ("main",), "/k.gpg"),
        Source("http://m.example/debian", "trixie-updates", ("main",), "/k.gpg"),
        Source("http://n.example/debian", "trixie", ("main",), "/k.gpg"),
        Source("http://n.example/debian", "trixie-updates", ("main",), "/k.gpg"),
        Source("http://k.example/debian", "sid", ("main",)),
    ]


@pytest.fixture
def etc_apt(tmp_path, monkeypatch):
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_files_are_read_in_order_of_their_names(etc_apt) -> None:
    (etc_apt / "sources.list.d/b.list").write_text("deb http://b.example/debian sid main\n")
    (etc_apt / "sources.list.d/a.sources").write_text(DEB822)
    (etc_apt / "sources.list.d/c.list.save").write_text("deb http://c.example/debian sid main\n")
    (etc_apt / "sources.list").write_text("deb http://first.example/debian sid main\n")
    uris = [source.uri.split("/")[2] for source in read_sources(etc_apt)]
    assert uris[0] == "first.example"
    assert uris[-1] == "b.example"
    assert "c.example" not in uris


CONFIGURED = [
    (
        "security named",
        "deb http://m.example/debian trixie main\ndeb http://s.example/sec trixie-security main",
        Mirror("http://m.example/debian", "http://s.example/sec", by_apt=True),
    ),
    (
        "security beside",
        "deb http://m.example/mirrors/debian bookworm main",
        Mirror("http://m.example/mirrors/debian", "http://m.example/mirrors/debian-security", True),
    ),
    (
        "others come first",
        "deb http://other.example/apt cloud-bookworm main\n"
        "deb http://third.example/x nodistro main\n"
        "deb [signed-by=/k.gpg] http://m.example/debian sid main",
        Mirror("http://m.example/debian", "http://m.example/debian-security", True, "/k.gpg"),
    ),
    (
        "only updates",
        "deb http://m.example/debian bookworm-updates main",
        Mirror("http://m.example/debian", "http://m.example/debian-security", True),
    ),
]


@pytest.mark.parametrize(
    ("text", "mirror"), [row[1:] for row in CONFIGURED], ids=[row[0] for row in CONFIGURED]
)
def test_configured_mirror(etc_apt, text, mirror) -> None:
    (etc_apt / "sources.list").write_text(text)
    assert configured_mirror(None, etc_apt) == mirror


@pytest.mark.parametrize("text", ["", "deb http://u.example/ubuntu noble main"])
def test_a_machine_that_is_not_debian(etc_apt, text) -> None:
    (etc_apt / "sources.list").write_text(text)
    with pytest.raises(UnsupportedError, match="Debian mirror") as caught:
        configured_mirror(None, etc_apt)
    assert "--mirror URL" in caught.value.__notes__[0]
    assert MIRROR_VARIABLE in caught.value.__notes__[0]


def test_a_named_mirror_wins(etc_apt, monkeypatch) -> None:
    (etc_apt / "sources.list").write_text("deb http://m.example/debian sid main")
    monkeypatch.setenv(MIRROR_VARIABLE, "http://env.example/debian")
    assert configured_mirror(None, etc_apt) == mirror_at("http://env.example/debian")
    assert configured_mirror("http://arg.example/debian/", etc_apt).main == (
        "http://arg.example/debian"
    )


def test_suites_of_the_security_archive() -> None:
    mirror = mirror_at("http://m.example/debian")
    assert mirror.uri("trixie-security") == "http://m.example/debian-security"
    assert mirror.uri("trixie-backports") == "http://m.example/debian"
