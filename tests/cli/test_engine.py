"""``fsession run --on engine``: what is asked of it, and what it refuses."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fsession.cli.engine import parse_call
from fsession.cli.main import run
from fsession.engine.jit import native
from fsession.errors import BadInputError

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
CALLS = [
    ("f()", "f()", ()),
    (" f ( 1,0x10 , -3) ", "f(1, 16, -3)", (1, 16, -3)),
]


@pytest.mark.parametrize(("text", "shown", "args"), CALLS)
def test_calls(text, shown, args):
    call = parse_call(text)
    assert (str(call), call.args) == (shown, args)


@pytest.mark.parametrize("text", ["f", "f(", "f(a)", "1f()", "f(1)(2)", "f(1,)"])
def test_what_is_no_call(text):
    with pytest.raises(BadInputError):
        parse_call(text)


@pytest.mark.parametrize(
    "words",
    [["--call", "f()"], ["--on", "engine", "--call", "f()", "--", "x.py"], ["--on", "moon"]],
)
def test_usage(words, capfd):
    assert run(["run", "/no/such.o", *words]) == 2
    assert "fsession: run: " in capfd.readouterr().err


def test_c_program_on_a_stand_in(capfd):
    if native() is None:
        pytest.skip("no machine code for this architecture")
    words = ["run", str(EXAMPLES / "session_printk.bpf.c"), "--on", "engine"]
    assert run([*words, "--call", "icmp_rcv(0)"]) == 0
    shown = capfd.readouterr()
    assert shown.out == "fsession entry.\nfsession exit.\n"
    assert "icmp_rcv(0) = 0" in shown.err
    assert run(words) != 0
    assert "--call 'icmp_rcv(0)' makes one" in capfd.readouterr().err


TRACER_USAGE = [
    (["--on", "engine", "--", "x.py"], "traces shared libraries"),
    (["--on", "engine", "--lib", "x.so"], "traces this process"),
    (["--lib", "x.so", "--", "true"], "go with --on engine"),
]


@pytest.mark.parametrize("command", ["trace", "graph", "hist", "top"])
@pytest.mark.parametrize(("words", "shown"), TRACER_USAGE)
def test_usage_of_the_tracer(command, words, shown, capfd):
    assert run([command, "f", *words]) == 2
    assert shown in capfd.readouterr().err


SCRIPT = """
import ctypes, sys, time
library = ctypes.CDLL(sys.argv[1])
for at in range(int(sys.argv[2])):
    library.twice(at)
if sys.argv[3:] == ["for ever"]:
    while True:
        library.twice(1)
        time.sleep(0.001)
print("done")
sys.exit(3)
"""


@pytest.fixture(scope="module")
def fsession(tmp_path_factory):
    """``fsession(command, options, script's arguments)`` on a library and a script of ours."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    folder = tmp_path_factory.mktemp("engine")
    (folder / "script.py").write_text(SCRIPT)
    source = Path(__file__).parent.parent / "engine" / "library.c"
    entry = "-fpatchable-function-entry=" + {"x86_64": "5", "aarch64": "2"}[platform.machine()]
    command = ["gcc", "-g", "-O2", "-shared", "-fPIC", entry, "-o", "libx.so", str(source)]
    subprocess.run(command, cwd=folder, check=True)

    def call(*words):
        main = [sys.executable, "-m", "fsession", *words]
        environment = os.environ | {"PYTHONDEVMODE": "0"}
        return subprocess.run(
            main, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
        )

    return call


ON = ("--on", "engine", "--lib", "./libx.so")


def test_trace_of_a_script(fsession):
    done = fsession("trace", *ON, "*", "--", "python3", "script.py", "./libx.so", "2")
    lines = done.stdout.splitlines()
    lines.remove("done")
    assert (done.returncode, done.stderr) == (3, "")
    assert [line.split("  ")[-1] for line in lines[1:-1]] == [
        "add(a=0, b=0) = 0", "twice(a=0) = 0", "add(a=1, b=1) = 2", "twice(a=1) = 2",
    ]  # fmt: skip
    assert lines[-1].startswith("4 calls · 0 lost · 0 missed · ")


def test_it_ends_the_script(fsession):
    rest = ("--", "script.py", "./libx.so", "0", "for ever")
    done = fsession("trace", *ON, "twice", "--max-events", "3", *rest)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("twice(a=1) = 2") == 3


def test_counts_of_a_module(fsession):
    done = fsession("hist", *ON, "add", "--of", "a", "--", "-m", "script", "./libx.so", "4")
    assert done.returncode == 3
    assert "4 calls   average" in done.stdout
    assert "4 calls · 0 lost · 0 missed" in done.stdout


def test_what_is_no_script(fsession):
    done = fsession("trace", *ON, "add", "--", "no.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no script 'no.py'" in done.stderr


def test_graph_of_a_script(fsession):
    done = fsession("graph", *ON, "twice", "--", "script.py", "./libx.so", "1")
    assert (done.returncode, done.stderr) == (3, "")
    below = done.stdout.partition("  twice(a=0) {\n")[2]
    assert "    add(a=0, b=0) = 0\n" in below
    assert below.splitlines()[-1].startswith("1 tree · 2 calls · 0 lost · 0 missed · ")


def test_recording_of_a_script(fsession):
    script = ("script.py", "./libx.so", "2")
    done = fsession("record", "-o", "calls.fsession", *ON, "*", "--", *script)
    assert (done.returncode, done.stdout) == (3, "done\n")
    assert "4 calls · 0 lost · 0 missed" in done.stderr
    shown = fsession("replay", "calls.fsession").stdout
    assert shown.count("twice(a=") == 2
