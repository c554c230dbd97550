"""Programs made to be hard on the verifier: each gets its verdict in bounded time and memory.

The budget is a twentieth of the kernel's, the time a tenth of the 20 s allowed;
``fuzz/hostile.py`` has it all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = Path(__file__).parent.parent.parent / "fuzz" / "hostile.py"
INSNS = 50_000
MOST_SECONDS, MOST_MIB = 2, 500

CASES = [
    ("branches", "BPF program is too large. Processed 50001 insn"),
    ("slots", "BPF program is too large. Processed 50001 insn"),
    ("loops", "BPF program is too large. Processed 50001 insn"),
    ("waiting", "The sequence of 8193 jumps is too complex."),
    ("straight", ""),
]


def _measured(name):
    command = [sys.executable, str(HOSTILE), name, "--insns", str(INSNS)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.parametrize(("name", "message"), CASES, ids=[name for name, _ in CASES])
def test_verdict_comes_in_time(name, message):
    found = _measured(name)
    assert found["message"] == message
    assert found["seconds"] < MOST_SECONDS
    assert found["mib"] < MOST_MIB
