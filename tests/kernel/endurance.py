"""Long runs, inside a guest: ``endurance.py rate SECONDS`` and ``endurance.py cycles COUNT``.

``rate``: a thread calls a traced function as fast as it can, ``fsession trace`` writes each call.
What it shows and what it says it lost must be the calls that were made, and its memory must not
grow. ``cycles``: attach and detach under load; each cycle's counts add up, and nothing is left in
the kernel. The last line is a JSON object with what was seen; the exit status is 1 if a check
failed.
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from multiprocessing import Process, Value
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsession
import listing

if TYPE_CHECKING:
    from collections.abc import Iterator

FUNCTION = {"x86_64": "__do_sys_getppid", "aarch64": "__arm64_sys_getppid"}[platform.machine()]
SUMMARY = re.compile(r"([\d,]+) calls? · ([\d,]+) lost · ([\d,]+) missed")
HEADING = 2  # lines that are no calls: the heads of the columns, and the summary
BATCH = 1000
RING_BYTES = 1 << 16  # of a cycle: some hundred calls, which are read at once
SETTLED = 0.2  # of the run: by then every page that the tracer needs has been touched
GROWTH = 1.02  # at most, from then to the end


class Caller:
    """A process that calls the traced function, from `start` to `stop`."""

    def __init__(self) -> None:
        self._go, self._made = Value("b", 0), Value("Q", 0)
        self._process = Process(target=_call, args=(self._go, self._made), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def start(self) -> None:
        self._go.value = 1

    def stop(self) -> int:
        """How many calls it made."""
        self._go.value = -1
        self._process.join()
        return self.made

    @property
    def made(self) -> int:
        return int(self._made.value)


def _call(go: Any, made: Any) -> None:
    while not go.value:
        time.sleep(0.01)
    while go.value > 0:
        for _ in range(BATCH):
            os.getppid()
        made.value += BATCH


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) if found else 0


def rate(seconds: float) -> dict[str, object]:
    """A trace of `seconds` at the full rate of one thread."""
    caller = Caller()
    out = Path("/dev/shm/calls")
    os.mkfifo(out)
    words = ["trace", FUNCTION, "--pid", str(caller.pid), "-o", str(out)]
    command = [sys.executable, "-m", "fsession", *words]
    reader = subprocess.Popen(["wc", "-l", str(out)], stdout=subprocess.PIPE, text=True)
    before = listing.holdings()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        while not {"links", "maps"} <= set(listing.holdings().more_than(before)):
            time.sleep(0.05)
        time.sleep(1)
        caller.start()
        sizes = list(_sizes(tracer.pid, seconds))
        made = caller.stop()
        time.sleep(0.5)
        tracer.send_signal(signal.SIGINT)
        _, said = tracer.communicate(timeout=120)
    shown = int(reader.communicate(timeout=60)[0].split()[0]) - HEADING
    found = SUMMARY.search(said)
    assert found, said
    calls, lost, missed = (int(number.replace(",", "")) for number in found.groups())
    settled = sizes[int(len(sizes) * SETTLED)]
    return {
        "made": made,
        "calls": calls,
        "lost": lost,
        "missed": missed,
        "shown": shown,
        "shown_a_second": round((calls - lost) / seconds),
        "settled_kib": settled,
        "end_kib": sizes[-1],
        "ok": calls + missed == made and shown == calls - lost and sizes[-1] <= settled * GROWTH,
    }


def _sizes(pid: int, seconds: float) -> Iterator[int]:
    """Resident sizes of a process, 50 of them."""
    for _ in range(50):
        time.sleep(seconds / 50)
        yield resident_kib(pid)


def cycles(count: int) -> dict[str, object]:
    """Attach and detach `count` times in the middle of calls, with each strategy in turn."""
    caller = Caller()
    caller.start()
    seen = {"calls": 0, "lost": 0, "missed": 0, "wrong": 0}
    host = fsession.KernelHost()
    strategies = working()
    before, sizes, start = listing.holdings(), [], time.monotonic()
    for number in range(count):
        strategy = strategies[number % len(strategies)]
        with fsession.trace(
            FUNCTION, host=host, pid=caller.pid, strategy=strategy, ring_bytes=RING_BYTES
        ) as calls:
            received = calls.read(1)
            calls.detach()
            received += calls.read(0)
            summary = calls.summary
        seen["calls"] += summary.calls
        seen["lost"] += summary.lost
        seen["missed"] += summary.missed
        seen["wrong"] += len(received) != summary.calls - summary.lost
        seen["wrong"] += any(call.pid != caller.pid for call in received)
        sizes.append(resident_kib(os.getpid()))
    took = time.monotonic() - start
    caller.stop()
    time.sleep(1)
    left = listing.holdings().more_than(before)
    settled = sizes[int(len(sizes) * SETTLED)]
    steady = sizes[-1] <= settled * GROWTH
    return {
        **seen,
        "cycles": count,
        "strategies": strategies,
        "seconds": round(took, 1),
        "settled_kib": settled,
        "end_kib": sizes[-1],
        "left": left,
        "ok": steady and not left and not seen["wrong"] and seen["calls"] >= count,
    }


def working() -> list[str]:
    """The strategies that this kernel has."""
    found = []
    for strategy in ("native", "split"):
        try:
            with fsession.trace(FUNCTION, strategy=strategy):
                found.append(strategy)
        except fsession.UnsupportedError:
            continue
    return found


def main() -> int:
    kind, amount = sys.argv[1:]
    result = rate(float(amount)) if kind == "rate" else cycles(int(amount))
    kernel_log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True)
    warnings = [
        line
        for line in kernel_log.stdout.splitlines()
        if re.search(r"WARNING|BUG|Oops|Call Trace|stall|hung", line)
    ]
    result["dmesg"] = warnings
    result["ok"] = bool(result["ok"]) and not warnings
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
