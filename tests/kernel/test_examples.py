"""The programs in Python of `examples/`, with a workload each, and what comes out of them."""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fsession.btf.types import Func
from fsession.host import Feature
from fsession.session.python import PythonObject

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
QUESTION = b"\x12\x34\x01" + bytes(2) + b"\x01" + bytes(6) + b"\x07example\x03com\0\0\x01\0\x01"
KALLSYMS = "/proc/kallsyms"
PAGES = 8
SYN_SENT = 2


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


def write_pages() -> None:
    """Into a file of ramfs, whose pages are those of the page cache."""
    with TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "ramfs", "ramfs", folder], check=True)
        try:
            (Path(folder) / "file").write_bytes(bytes(PAGES * mmap.PAGESIZE))
        finally:
            subprocess.run(["umount", folder], check=True)


def connect_unheard() -> None:
    """To a server that has no room for more: the segment goes out again after a second."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        time.sleep(1.2)


def read_device() -> None:
    subprocess.run(["modprobe", "null_blk", "nr_devices=1"], check=True)
    try:
        with Path("/dev/nullb0").open("rb", buffering=0) as device:
            device.read(4096)
    finally:
        subprocess.run(["modprobe", "-r", "null_blk"], check=True)


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
            return sum(maps["counts"][1]) >= PAGES
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
        case "retransmits":
            return maps["by_state"][SYN_SENT] > 0
        case "block_latency":
            return sum(map(sum, maps["durations"].values())) > 0
    return False


WORKLOADS = {
    "tcp_connect": connect, "slow_reads": read, "off_cpu": lambda: time.sleep(0.05),
    "drops": ask_name, "page_cache": write_pages, "dns": ask_name, "cgroup_latency": read,
    "opens": open_nothing, "signals": kill, "retransmits": connect_unheard,
    "block_latency": read_device, "icmp": ping,
}  # fmt: skip


@pytest.mark.parametrize("name", WORKLOADS)
def test_example(name, host, require, facts):
    require(Feature.ATOMICS, None)
    if name == "block_latency" and facts and not facts.modules:
        pytest.skip("no modules for this kernel")
    if name == "drops" and host.types().find("sk_skb_reason_drop", Func) is None:
        pytest.skip("no sk_skb_reason_drop() (Linux 6.11)")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with PythonObject.open(EXAMPLES / f"{name}.py") as obj:
        obj.load(host)
        with obj.attach():
            WORKLOADS[name]()
            time.sleep(0.02)
        assert about(name, obj.read(0), obj.object.maps)


def test_all_examples_are_tried():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(WORKLOADS)
