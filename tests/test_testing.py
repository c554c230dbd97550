"""The plugin for tests of users: its fixtures, in a pytest of their own."""

from __future__ import annotations

import subprocess
import sys

TESTS = """
def test_machine(machine):
    double = machine.define("int double_it(int a)", lambda a: 2 * a)
    assert double(21) == 42

def test_any(any_host):
    assert any_host.name in ("engine", "kernel")
"""


def test_fixtures(tmp_path):
    (tmp_path / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert "3 passed" in last or "2 passed, 1 skipped" in last
    assert "1 skipped" not in last or "fentry and fexit programs: " in done.stdout
