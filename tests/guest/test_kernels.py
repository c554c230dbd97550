"""The matrix, and how the newest kernel of a series is found in package indexes."""

from __future__ import annotations

import pytest

from fsession.errors import BadInputError, UnsupportedError
from fsession.guest.index import Index
from fsession.guest.kernels import KERNELS, MACHINES, find_kernel, kernel_series, machine

from .debs import stanza


def index(*names: str, suite: str = "sid", version: str = "") -> Index:
    """Packages with the version their names have."""
    rows = (stanza(name, version or name.split("-")[2]) for name in names)
    return Index("\n".join(rows), suite)


FOUND = [
    (
        "one package",
        "6.1",
        ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-10-cloud-amd64"],
        {"linux-image-6.1.0-9-cloud-amd64": "6.1.9", "linux-image-6.1.0-10-cloud-amd64": "6.1.10"},
        ["linux-image-6.1.0-10-cloud-amd64"],
    ),
    (
        "three packages",
        "7.2",
        [
            "linux-binary-7.2.9-cloud-amd64", "linux-modules-7.2.9-cloud-amd64",
            "linux-base-7.2.9-cloud-amd64", "linux-base-7.2.9-cloud-arm64", "linux-base",
            "linux-binary-7.20.1-cloud-amd64", "linux-binary-7.2.10-rt-amd64",
        ],
        {},
        [
            "linux-binary-7.2.9-cloud-amd64", "linux-modules-7.2.9-cloud-amd64",
            "linux-base-7.2.9-cloud-amd64",
        ],
    ),
    (
        "no modules any more",
        "7.0",
        ["linux-binary-7.0.13-cloud-amd64", "linux-modules-7.0.9-cloud-amd64"],
        {},
        ["linux-binary-7.0.13-cloud-amd64"],
    ),
    (
        "unsigned only",
        "7.3",
        ["linux-binary-unsigned-7.3.4-cloud-amd64", "linux-modules-7.3.4-cloud-amd64"],
        {},
        ["linux-binary-unsigned-7.3.4-cloud-amd64", "linux-modules-7.3.4-cloud-amd64"],
    ),
    (
        "signed before unsigned",
        "6.12",
        [
            "linux-image-6.12.9-cloud-amd64-unsigned", "linux-image-6.12.9-cloud-amd64",
            "linux-image-6.12.9-cloud-amd64-dbg",
        ],
        {},
        ["linux-image-6.12.9-cloud-amd64"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("series", "names", "versions", "expected"),
    [row[1:] for row in FOUND],
    ids=[row[0] for row in FOUND],
)
def test_find_kernel(series, names, versions, expected) -> None:
    text = "\n".join(stanza(name, versions.get(name, "1")) for name in names)
    found = find_kernel(kernel_series(series), [Index(text, "sid")], "amd64")
    assert [package.name for package in found] == expected


def test_the_newest_of_all_suites_wins() -> None:
    old = Index(stanza("linux-image-6.1.0-50-cloud-arm64", "6.1.170-1"), "bookworm")
    new = Index(stanza("linux-image-6.1.0-56-cloud-arm64", "6.1.192-2"), "bookworm-security")
    for indexes in ([old, new], [new, old]):
        (found,) = find_kernel(kernel_series("6.1"), indexes, "arm64")
        assert found.suite == "bookworm-security"


def test_a_series_the_mirror_lacks() -> None:
    with pytest.raises(UnsupportedError, match=r"Linux 7\.2 for amd64 .* \(not in sid"):
        find_kernel(kernel_series("7.2"), [Index(stanza("bash"), "sid")], "amd64")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("x86_64", "x86_64"), ("amd64", "x86_64"), ("aarch64", "arm64"), ("arm64", "arm64")],
)
def test_machines_have_several_names(name, expected) -> None:
    assert machine(name).name == expected


def test_this_host_is_the_default() -> None:
    assert machine().name in {item.name for item in MACHINES}


@pytest.mark.parametrize(
    ("look_up", "words"), [(machine, "architecture"), (kernel_series, "series")]
)
def test_unknown_names_list_the_known_ones(look_up, words) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        look_up("vax")
    assert "one of" in caught.value.__notes__[0]


def test_the_matrix_is_in_order_and_says_what_sessions_need() -> None:
    versions = [tuple(map(int, series.name.split("."))) for series in KERNELS]
    assert versions == sorted(versions)
    assert [series.name for series in KERNELS if series.sessions] == ["7.0", "7.1", "7.2", "7.3"]
    assert {name for series in KERNELS for name in series.multi} <= {item.name for item in MACHINES}
