"""Package indexes: Debian's order of versions, stanzas, dependencies."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess

import pytest

from fsession.errors import BadInputError, FsessionError, NotFoundError
from fsession.guest.index import Index, closure, parse_stanza, stanzas, version_key

from .debs import stanza

ORDERED = [
    "0~~", "0~", "0", "0a", "0+", "1~rc1-1", "1", "1-0.1", "1-1~bpo12+1", "1-1", "1-1+b1",
    "1-1.1", "1.0~beta", "1.0", "1.0.1", "1.00002", "1.2a", "1.2a1", "1.2+", "1.10",
    "6.1.0-9", "6.1.0-10", "6.12.9+deb13.1-1", "6.12.90-1", "7.2.13-1~bpo13+1", "7.2.13-1",
    "1:0", "1:0.1-1", "2:0~",
]  # fmt: skip


def test_versions_sort_as_listed() -> None:
    assert sorted(ORDERED, key=version_key) == ORDERED


@pytest.mark.parametrize("pair", [("1.0", "1.0-0"), ("1a", "1a0"), ("1.01", "1.1"), ("0:5", "5")])
def test_versions_that_are_equal(pair) -> None:
    assert version_key(pair[0]) == version_key(pair[1])


@pytest.mark.skipif(not shutil.which("dpkg"), reason="needs dpkg to compare with")
def test_versions_sort_as_dpkg_says() -> None:
    for left, right in itertools.pairwise(ORDERED):
        subprocess.run(["dpkg", "--compare-versions", left, "lt", right], check=True)


def test_a_version_without_a_number_before_its_colon() -> None:
    with pytest.raises(BadInputError, match="not a Debian version"):
        version_key("a:1")


def test_stanzas() -> None:
    text = "# c\nA: 1\nB:\n x\n y\n\n\n \nC: d: e\n# no\n F: not a field of C\n"
    assert list(stanzas(text)) == [
        {"a": "1", "b": "\nx\ny"},
        {"c": "d: e\nF: not a field of C"},
    ]


def test_a_line_that_is_no_field() -> None:
    with pytest.raises(BadInputError, match="not a field"):
        parse_stanza("Package x")


def test_find_takes_the_newest() -> None:
    index = Index("\n".join([stanza("a", "1.9"), stanza("a", "1.10"), stanza("ab", "3")]), "sid")
    found = index.find("a")
    assert found is not None
    assert (found.version, found.suite, found.size) == ("1.10", "sid", 10)
    assert index.find("b") is None


def test_matching_takes_whole_names() -> None:
    index = Index("\n".join([stanza("linux-image-7.2.1"), stanza("linux-image-7.2.1-dbg")]), "sid")
    names = [package.name for package, _ in index.matching(re.compile(r"linux-image-[\d.]+"))]
    assert names == ["linux-image-7.2.1"]


def test_the_name_of_a_file_escapes_the_epoch() -> None:
    package = Index(stanza("libc6", "2:1.0-1"), "sid").find("libc6")
    assert package is not None
    assert package.deb_name == "libc6_2%3a1.0-1_amd64.deb"


@pytest.mark.parametrize("gone", ["Size", "SHA256", "Filename", "Architecture"])
def test_a_stanza_that_lacks_a_field(gone) -> None:
    text = re.sub(rf"^{gone}: .*\n", "", stanza("a"), flags=re.MULTILINE)
    with pytest.raises(BadInputError, match="bad stanza"):
        Index(text, "sid").find("a")


def _index(*rows: tuple[str, str], suite: str = "bookworm", version: str = "1") -> Index:
    return Index("\n".join(stanza(name, version, Depends=deps) for name, deps in rows), suite)


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([("a", "b (>= 1), c:any"), ("b", ""), ("c", "")], ["a", "b", "c"]),
        ([("a", "b"), ("b", "a")], ["a", "b"]),
        ([("a", "gone | b"), ("b", "")], ["a", "b"]),
        ([("a", "b | c"), ("b", ""), ("c", "")], ["a", "b"]),
        ([("a", "perl, b"), ("b", "perl (= 5)")], ["a", "b"]),
        ([("a", "perl | b"), ("b", "")], ["a"]),
    ],
    ids=["both", "circle", "second", "first", "without", "one of them without"],
)
def test_closure(rows, wanted) -> None:
    packages = closure(["a"], [_index(*rows)], frozenset({"perl"}))
    assert [package.name for package in packages] == wanted


def test_closure_finds_what_provides_a_name() -> None:
    text = stanza("a", Depends="mail") + "\n" + stanza("postfix", Provides="mail (= 2), x")
    packages = closure(["a"], [Index(text, "sid")], frozenset())
    assert [package.name for package in packages] == ["a", "postfix"]


def test_closure_takes_the_newest_of_all_indexes() -> None:
    old, new = _index(("a", "")), _index(("a", ""), suite="bookworm-security", version="2")
    (package,) = closure(["a"], [old, new], frozenset())
    assert (package.version, package.suite) == ("2", "bookworm-security")


def test_closure_names_what_is_not_there() -> None:
    with pytest.raises(NotFoundError, match="gone or lost"):
        closure(["a"], [_index(("a", "gone | lost"))], frozenset())


def test_random_text_is_refused_in_words(seeded) -> None:
    for _ in range(300):
        text = "Package: a\n" + "".join(seeded.choices("ab: \n~1", k=60))
        try:
            list(stanzas(text))
            Index(text, "sid").find("a")
        except FsessionError:
            pass
