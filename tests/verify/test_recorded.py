"""The recorded verdicts of Linux 7.2 on 10,000 random programs."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fsession.btf.catalog import Types
from fsession.verify import verify
from fsession.verify.limits import limits

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "fuzz"))
import against_kernel

RECORDED = json.loads((Path(__file__).parent / "random-7.2.json").read_text())
NARROWER = 0
"""How many are taken here only: their ranges are known better than the kernel knows them."""


@pytest.fixture(scope="module")
def types() -> Types:
    path = os.environ.get("FSESSION_UAPI_BTF")
    if not path:
        pytest.skip("FSESSION_UAPI_BTF does not name the BTF of Linux 7.2")
    return Types.from_bytes(Path(path).read_bytes(), name="vmlinux")


def test_verdicts_on_random_programs_are_those_of_the_kernel(types):
    """Recorded by ``fuzz/against_kernel.py --record``; the digest says if the programs changed."""
    taken = "".join(RECORDED["taken"])
    found = list(against_kernel.subjects(len(taken), RECORDED["seed"], types))
    assert against_kernel.digest(found) == RECORDED["digest"], "record the verdicts anew"
    rules = replace(limits(RECORDED["kernel"]), max_insns=against_kernel.MOST_INSNS)
    pairs = [
        (verify(subject, rules).accepted, mark == "1")
        for subject, mark in zip(found, taken, strict=True)
        if mark != "-"
    ]
    assert pairs.count((True, False)) == NARROWER
    assert pairs.count((True, True)) >= 0.99 * (
        pairs.count((True, True)) + pairs.count((False, True))
    )
