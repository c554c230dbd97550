"""The plugin for tests of users: its fixtures, in a pytest of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = """
def test_machine(machine):
    double = machine.define("int double_it(int a)", lambda a: 2 * a)
    assert double(21) == 42

def test_any(any_host):
    assert any_host.name in ("engine", "kernel")
"""


ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(
    r"^(?:`(?P<name>[\w.]+)`:\n\n)?```(?:python|c)\n(?P<text>.*?)^```$", re.M | re.S
)


def test_tutorial(tmp_path):
    """What docs/testing-programs.md shows, as it stands there."""
    blocks = _BLOCK.finditer((ROOT / "docs" / "testing-programs.md").read_text())
    for number, block in enumerate(blocks):
        (tmp_path / (block["name"] or f"test_{number}.py")).write_text(block["text"])
    shutil.copy(ROOT / "examples" / "session_printk.bpf.c", tmp_path / "session.bpf.c")
    done = _pytest(tmp_path)
    assert "3 passed" in done or "2 passed, 1 skipped" in done


def test_fixtures(tmp_path):
    (tmp_path / "test_mine.py").write_text(TESTS)
    done = _pytest(tmp_path)
    assert "3 passed" in done or "2 passed, 1 skipped" in done
    assert "1 skipped" not in done or "fentry and fexit programs: " in done


def _pytest(folder):
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
