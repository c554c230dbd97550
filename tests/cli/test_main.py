"""The command line as a whole, where no kernel is asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fsession.cli.main import COMMANDS, run

STATUSES = [
    ("help", ["--help"], 0, "Commands:", ""),
    ("nothing", [], 2, "Commands:", ""),
    ("version", ["--version"], 0, "fsession ", ""),
    ("no such command", ["trase"], 2, "", "fsession: No such command 'trase'"),
    ("help of a command", ["trace", "--help"], 0, "[-- CMD [ARG]...]", ""),
    ("no function", ["trace"], 2, "", "fsession: trace: Missing argument 'FUNC...'."),
    ("no such workload", ["trace", "f", "--", "no-such"], 2, "", "there is no command 'no-such'"),
    ("a long name", ["trace", "f", "--comm", "x" * 16], 2, "", "no thread can have the name"),
    ("nothing to show", ["show"], 2, "", "fsession: show: give names, or --vmlinux-h"),
    ("no such file", ["run", "/no/such/file.o"], 2, "", "can't read '/no/such/file.o'"),
]


@pytest.mark.parametrize(
    ("words", "status", "out", "err"), [row[1:] for row in STATUSES], ids=[r[0] for r in STATUSES]
)
def test_status(words, status, out, err, capfd):
    assert run(words) == status
    seen = capfd.readouterr()
    assert out in seen.out
    assert err in seen.err
    assert len(seen.err.splitlines()) <= 3


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help(name, capfd):
    assert run([name, "--help"]) == 0
    assert capfd.readouterr().out.startswith(f"Usage: fsession {name} ")


def _modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {
    "rich",
    "numpy",
    "elftools",
    "json",
    "shutil",
    "subprocess",
    "asyncio",
    "typing_extensions",
}
STARTS = [
    ("import fsession", HEAVY | {"click", "dataclasses", "ctypes"}),
    ("import fsession.cli.trace, fsession.tracer, fsession.sinks, fsession.kernel", HEAVY),
]


@pytest.mark.parametrize(("statement", "absent"), STARTS, ids=["package", "trace"])
def test_a_trace_starts_without_what_it_does_not_need(statement, absent):
    assert not absent & _modules_after(statement)
