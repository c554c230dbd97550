"""Tracing as another user sees it: few capabilities, none, a killed tracer, the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import listing
from fsession.host import Feature

HERE = Path(__file__).parent
ENTRY, EXIT = "fsession entry.", "fsession exit."
COOKIE = "fsession cookie: 0xdeadbeef"
PING = ("ping", "-c", "1", "127.0.0.1")
TIMEOUT_S = 60


def fsession(*words: object, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fsession", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, **options)


@pytest.fixture(scope="module", autouse=True)
def loopback() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def unprivileged(objects: Path, *capabilities: str) -> dict[str, str]:
    """What a process of another user gets with these capabilities only."""
    words = [sys.executable, str(HERE / "unprivileged.py"), str(objects), *capabilities]
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_capabilities(strategy, objects):
    """``CAP_BPF`` and ``CAP_PERFMON`` are enough to load, attach and trace."""
    outcome = unprivileged(objects, strategy, "CAP_BPF", "CAP_PERFMON")
    assert outcome == {"uid": 1000, "entries": 1, "exits": 1, "mismatches": 0}


@pytest.mark.parametrize(
    ("held", "named"),
    [((), "CAP_BPF"), (("CAP_BPF",), "CAP_PERFMON"), (("CAP_NET_ADMIN",), "CAP_BPF")],
    ids=lambda value: "+".join(value) or "none" if isinstance(value, tuple) else value,
)
def test_missing_capability(held, named, objects, command_line):
    """Without them the error says which one is missing."""
    outcome = unprivileged(objects, "auto", *held)
    assert named in outcome["error"]
    assert outcome["errno"] == 1  # EPERM


def is_attached(before: listing.Holdings) -> bool:
    """A probe of what the kernel can do has a link, too, but no map beside it."""
    return {"links", "maps"} <= set(listing.holdings().more_than(before))


def test_killed_tracer(host, require, objects, eventually):
    """A tracer that is killed leaves no program, link or map in the kernel."""
    require(Feature.FENTRY, None)
    before = listing.holdings()
    tracer = subprocess.Popen(
        [sys.executable, "-m", "fsession", "trace", "icmp_rcv"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: is_attached(before), "nothing was attached")
        tracer.send_signal(signal.SIGKILL)
    finally:
        tracer.kill()
        tracer.wait()
    eventually(lambda: not listing.holdings().more_than(before), "left in the kernel")


def test_trace(strategy):
    """One line for each call: the argument's name, the result, who called; then the summary."""
    done = fsession("trace", "--strategy", strategy, "icmp_rcv", "--", *PING)
    assert done.returncode == 0, done.stderr
    calls = re.findall(r"^.*\bicmp_rcv\(skb=0x[0-9a-f]{16}\) = \S.*$", done.stdout, re.MULTILINE)
    assert len(calls) == 2  # the request and the reply
    last = (done.stdout + done.stderr).strip().splitlines()[-1]
    assert re.search(r"2 calls · 0 lost · 0 missed", done.stdout + done.stderr), last
    assert strategy in done.stdout + done.stderr


PRINTED = {"session_printk": [ENTRY, EXIT] * 2, "session_cookie": [COOKIE] * 2}


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
@pytest.mark.parametrize("name", PRINTED)
def test_run(name, strategy, objects):
    """C programs, unchanged."""
    path = objects / "cases" / f"{name}.bpf.o"
    if not path.exists():  # not beside the checkout: their twins
        path = objects / "examples" / path.name
    assert printed(path, "--strategy", strategy) == PRINTED[name]


@pytest.mark.parametrize("name", PRINTED)
def test_run_examples(name, require, objects, command_line):
    require(Feature.FENTRY, None)
    assert printed(objects / "examples" / f"{name}.bpf.o") == PRINTED[name]


def printed(path: Path, *words: str) -> list[str]:
    done = fsession("run", *words, path, "--", *PING)
    assert done.returncode == 0, done.stderr
    return re.findall(r"fsession (?:entry|exit|cookie).*", done.stdout)


def test_features(facts):
    """It prints what the kernel can do, and the strategy that it will use."""
    done = fsession("features", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    text = fsession("features").stdout
    if facts:
        wanted = "multi" if facts.multi else "native" if facts.native else "split"
        assert wanted in text


def test_show(command_line):
    done = fsession("show", "icmp_rcv")
    assert done.stdout.strip() == "int icmp_rcv(struct sk_buff *skb);"


def test_list(command_line):
    done = fsession("list", "icmp_rc*")
    assert "icmp_rcv" in done.stdout


def test_interrupt(require, command_line):
    """Ctrl-C ends a trace with its summary."""
    require(Feature.FENTRY, None)
    tracer = subprocess.Popen(
        [sys.executable, "-m", "fsession", "trace", "-v", "icmp_rcv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr.readline().startswith("fsession: strategy ")  # attached
    subprocess.run(PING, check=True, stdout=subprocess.DEVNULL)
    tracer.send_signal(signal.SIGINT)
    output, _ = tracer.communicate(timeout=TIMEOUT_S)
    assert "2 calls" in output
    assert "Traceback" not in output
    assert os.WIFEXITED(tracer.returncode << 8)
