"""The corpus: our verdicts against those of real verifiers, with pruning and without."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from tests.verify.corpus import MAPS, cases, confirmed

from fsession.btf.catalog import Types
from fsession.paper import subject_of
from fsession.verify import verify

NOT_ASKED = "not asked: "
SERIES = ("7.2", "6.12")
# What lies at an offset is for each kernel's own BTF to say; here it is that of 7.2.
_OTHER_LAYOUT = {
    ("6.12", "table-task: task: read far"),
    ("6.12", "table-map: map: read 1"),
    ("6.12", "table-map: map: read 4 signed"),
    ("6.12", "table-map: map: read misaligned"),
    ("6.12", "kernel-data: part of a pointer of a map"),
}
STRICTER = {
    "dynptrs: a slice used after the dynptr was submitted",
    "found: reserved fields where nothing comes",
    "found: bounds of both kinds",
    "found: a way on which halves contradict each other",
    "timer-callbacks: a callback that sleeps, of a program that sleeps",
    "queued: for another map",
    "functions: too much stack together",
    "functions: nine functions deep",
}
"""What Linux 7.2, or 6.12, takes and we refuse; docs/verify.md has the reasons."""

_NUMBERS = {number: number for number in MAPS}


@pytest.fixture(scope="module")
def types() -> Types:
    path = os.environ.get("FSESSION_UAPI_BTF")
    if not path:
        pytest.skip("FSESSION_UAPI_BTF does not name the BTF of Linux 7.2")
    return Types.from_bytes(Path(path).read_bytes(), name="vmlinux")


def _report(case, types, series="7.2", **options):
    request = case.request(types, _NUMBERS, old=series == "6.12")
    return verify(subject_of(request, MAPS, lambda _: types, str), series, **options)


@pytest.mark.parametrize("series", SERIES)
def test_verdicts_are_those_of_the_kernel(types, series):
    """What the kernel refuses is refused; what it takes is taken, but for what is not judged."""
    said, wrong = confirmed()[series], []
    for case in cases():
        words = said.get(case.name, NOT_ASKED)
        if words.startswith(NOT_ASKED) or (series, case.name) in _OTHER_LAYOUT:
            continue
        report = _report(case, types, series)
        if report.accepted == (words == "") or not report.judged:
            continue
        if case.name in STRICTER and not report.accepted:
            continue
        wrong.append(f"{case.name}: kernel '{words}', ours '{report.message}'")
    assert wrong == []


def test_most_programs_that_the_kernel_takes_are_judged(types):
    said = confirmed()["7.2"]
    taken = [case for case in cases() if said[case.name] == ""]
    judged = sum(_report(case, types).judged for case in taken)
    assert judged >= 0.95 * len(taken)


def test_pruning_changes_no_verdict(types):
    for case in cases():
        with_pruning = _report(case, types)
        without = _report(case, types, prune=False)
        assert (with_pruning.accepted, with_pruning.message) == (without.accepted, without.message)


def _words(message: str) -> set[str]:
    return set(re.findall(r"[a-z_]{3,}", message.lower()))


def test_messages_have_the_words_of_the_kernel(types):
    """Most of a refusal's words are in what the kernel says."""
    said, found, total = confirmed()["7.2"], 0, 0
    for case in cases():
        report = _report(case, types)
        if report.accepted or not report.judged or not said[case.name]:
            continue
        total += 1
        ours, theirs = _words(report.message), _words(said[case.name])
        found += len(ours & theirs) >= 0.6 * len(theirs)
    assert found >= 0.9 * total


def test_every_program_was_asked_about():
    names = {case.name for case in cases()}
    assert len(names) >= 1070
    assert names <= set(confirmed()["7.2"])
    assert len(names & set(confirmed()["6.12"])) >= 1070


def test_names_are_unique():
    names = [case.name for case in cases()]
    assert len(names) == len(set(names))
