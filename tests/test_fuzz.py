"""A round of each fuzzer: mutated input is refused with `BadInputError`, or read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent.parent / "fuzz"
COUNT = 2000


@pytest.mark.parametrize(
    "name", ["fuzz_obj", "fuzz_btf", "fuzz_engine", "fuzz_code", "fuzz_recording"]
)
def test_mutated_input(name):
    command = [sys.executable, str(FUZZ / f"{name}.py"), "--count", str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"{COUNT} inputs" in done.stdout
    assert " 0 failed" in done.stdout
    assert " 0 read" not in done.stdout  # all refused would prove little
