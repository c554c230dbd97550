"""The programs in Python of `examples/`, with a workload each, and what comes out of them."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from fsession.btf.types import Func
from fsession.host import Feature
from fsession.session.python import PythonObject

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
QUESTION = b"\x12\x34\x01" + bytes(2) + b"\x01" + bytes(6) + b"\x07example\x03com\0\0\x01\0\x01"
KALLSYMS = "/proc/kallsyms"


def connect() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
    ):
        server.accept()[0].close()


def ask_name() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(QUESTION, ("127.0.0.1", 53))  # nobody is there: the packet is dropped


def read() -> None:
    with open(KALLSYMS, "rb", buffering=0) as file:  # noqa: PTH123 -- one read, not all
        file.read(1 << 16)


def open_nothing() -> None:
    with pytest.raises(FileNotFoundError):
        os.open("/no/such/file", os.O_RDONLY)


def kill() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        comm = Path(f"/proc/{sleeper.pid}/comm")
        while comm.read_text() != "sleep\n":  # execve closes Popen's pipe before it sets the name
            time.sleep(0.01)
        sleeper.kill()


def ping() -> None:
    subprocess.run(["ping", "-c", "1", "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)


def about(name: str, events: list, maps: dict) -> bool:
    """Whether the example saw its workload."""
    match name:
        case "tcp_connect":
            return any(e.address == 0x7F000001 and e.ret == 0 and e.took_ns > 0 for e in events)
        case "slow_reads":
            return any(e.name == "kallsyms" and e.asked == 1 << 16 and e.got > 0 for e in events)
        case "off_cpu":
            return any(0.8 * e.took_ns < e.off_cpu_ns <= e.took_ns for e in events)
        case "drops":
            counted = sum(count for _, count in maps["drops"].items())
            return counted > 0 and any(e.device == "lo" and e.length == 37 for e in events)
        case "page_cache":
            return sum(map(sum, maps["counts"].values())) >= 0 and not events
        case "dns":
            return any(e.name == "\x07example\x03com" and e.comm for e in events)
        case "cgroup_latency":
            totals = list(maps["totals"].values())
            return any(total["calls"] > 0 and total["took_ns"] > 0 for total in totals)
        case "opens":
            return any(e.name == "/no/such/file" and e.error == -2 for e in events)
        case "signals":
            return any(e.receiver == "sleep" and e.signal == 9 for e in events)
        case "icmp":
            seen = sum(map(sum, maps["durations"].values()))
            return seen == 2 and all(e.name == "lo" and e.took_ns > 1000 for e in events)
    return not events  # retransmits, block_latency: nothing of the kind happens here


WORKLOADS = {
    "tcp_connect": connect, "slow_reads": read, "off_cpu": lambda: time.sleep(0.05),
    "drops": ask_name, "page_cache": read, "dns": ask_name, "cgroup_latency": read,
    "opens": open_nothing, "signals": kill, "retransmits": connect, "block_latency": read,
    "icmp": ping,
}  # fmt: skip


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
@pytest.mark.parametrize("name", WORKLOADS)
def test_example(name, strategy, host, require):
    require(Feature.ATOMICS, None)
    if name == "drops" and host.types().find("sk_skb_reason_drop", Func) is None:
        pytest.skip("no sk_skb_reason_drop() (Linux 6.11)")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with PythonObject.open(EXAMPLES / f"{name}.py") as obj:
        obj.load(host)
        with obj.attach(strategy):
            WORKLOADS[name]()
            time.sleep(0.02)
        assert about(name, obj.read(0), obj.object.maps)


def test_all_examples_are_tried():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(WORKLOADS)
