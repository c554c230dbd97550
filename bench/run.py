"""The figures of docs/benchmarks.md: run.py [--kernel 7.2] [--only PARTS], of `PARTS` below.

Three runs of a guest and one measurement here. Ratios are made of figures of one run, side by side.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.errors import FsessionError
from fsession.guest import StderrProgress, capture
from fsession.obj import compile_c

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
PARTS = ("calls", "traced", "hist", "graph", "start", "many", "records")
MANY = "[a-e]*"  # somewhat over 10,000 functions that can be traced
PROJECT = {str(ROOT / "bench"): "/root/bench", str(ROOT / "tests" / "kernel"): "/root/tests/kernel"}

BPFTRACE_START_S = 5.8  # fentry and fexit on one function, in such a guest
MIB = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """A figure and the limit it is held to: at most `limit`, or at least if `at_least`."""

    what: str
    value: float
    limit: float | None = None
    unit: str = ""
    at_least: bool = False

    @property
    def verdict(self) -> str:
        if self.limit is None:
            return ""
        met = self.value >= self.limit if self.at_least else self.value <= self.limit
        return "reached" if met else "MISSED"

    def text(self) -> str:
        bound = "" if self.limit is None else f"{'≥' if self.at_least else '≤'} {self.limit:,.5g}"
        return f"{self.what:<52} {self.value:>12,.5g} {self.unit:<12} {bound:>12}  {self.verdict}"


def in_guest(
    kernel: str, *words: str, script: str = "in_guest.py", icount: bool = False
) -> dict[str, float]:
    """Run a part of a script of this folder in a guest with one CPU."""
    done = capture(
        ["python3", f"/root/bench/{script}", *words],
        kernel=kernel,
        arch="x86_64",
        cpus=1,
        icount=icount,
        timeout_s=300,
        copies={**PROJECT, str(BUILD): "/root/objects"},
        progress=StderrProgress(),
    )
    if done.status:
        sys.stderr.write(done.stdout.decode() + done.stderr.decode())
        raise SystemExit(f"bench: {words[0]} ended with status {done.status}")
    figures: dict[str, float] = json.loads(done.stdout.decode().splitlines()[-1])
    return figures


def calls(kernel: str) -> Iterator[Row]:
    """Machine instructions that a session adds to a call."""
    seen = in_guest(kernel, "calls", "/root/objects/hist.bpf.o", icount=True)
    unit = "instructions"
    for name, value in seen.items():
        yield Row(name, value, unit=unit)
    reference = seen["histogram, by hand"]
    for strategy, limit in (("native", 1.05), ("multi", 1.05)):
        ratio = seen[f"histogram, {strategy}"] / reference
        yield Row(f"histogram: {strategy} / by hand", ratio, limit)
    ratio = seen["histogram, split"] / seen["histogram, native"]
    yield Row("histogram: split / native", ratio, 1.4)


def traced(kernel: str) -> Iterator[Row]:
    """Machine instructions that `fsession trace` adds to a call."""
    seen = in_guest(kernel, "traced", "/root/objects/hist.bpf.o", icount=True)
    for name, value in seen.items():
        limit = 900 if name == "each call, native" else None
        yield Row(name, value, limit, "instructions")
    yield Row("split / native", seen["each call, split"] / seen["each call, native"], 1.5)


def hist(kernel: str) -> Iterator[Row]:
    """Machine instructions that `fsession hist` adds to a call."""
    seen = in_guest(kernel, "hist", "/root/objects/hist.bpf.o", icount=True)
    for name, value in seen.items():
        limit = 520 if name == "durations, native" else None
        yield Row(name, value, limit, "instructions")
    yield Row("split / native", seen["durations, split"] / seen["durations, native"], 1.5)


def graph(kernel: str) -> Iterator[Row]:
    """Machine instructions that `fsession graph` adds to a call, and its start."""
    below = "a call below"
    seen = {
        strategy: in_guest(kernel, "calls", strategy, script="graph_in_guest.py", icount=True)
        for strategy in ("multi", "native", "split")
    }
    for strategy, figures in seen.items():
        for name, value in figures.items():
            limit = 700 if (name, strategy) == (below, "multi") else None
            yield Row(f"{name}, {strategy}", value, limit, "instructions")
    yield Row("a call below: split / native", seen["split"][below] / seen["native"][below], 1.5)
    start = in_guest(kernel, "start", "multi", script="graph_in_guest.py")
    yield Row("graph icmp_rcv: functions", start["functions"])
    yield Row("Enter to ready", start["ready_s"], 3, "s")
    yield Row("peak resident memory", start["peak_kib"] * 1024 / 1e6, 60, "MB")
    yield Row("Ctrl-C to ended", start["ended_s"], unit="s")
    yield Row("detached", start["detached_s"], 0.2, "s")


def start(kernel: str) -> Iterator[Row]:
    """From Enter to attached, for one function."""
    seen = in_guest(kernel, "start")
    counted = in_guest(kernel, "start", icount=True)
    yield Row("Python alone", seen["python_s"], unit="s")
    yield Row("Python alone", counted["python_s"] * 1000, unit="million insns")
    for which, words in (("first", "first since the boot"), ("later", "later")):
        yield Row(f"Enter to attached, {words}", seen[f"{which}_s"], BPFTRACE_START_S / 4, "s")
        yield Row(f"Enter to attached, {words}", counted[f"{which}_s"] * 1000, unit="million insns")
        yield Row(f"peak resident memory, {words}", seen[f"{which}_kib"] / MIB, 45, "MiB")


def many(kernel: str) -> Iterator[Row]:
    """10,000 functions by one link."""
    seen = in_guest(kernel, "many", MANY)
    yield Row(f"trace '{MANY}': functions", seen["functions"], 10_000, at_least=True)
    yield Row("bare load and link of the same", seen["bare_s"], unit="s")
    yield Row("Enter to attached", seen["attached_s"], unit="s")
    yield Row("Enter to attached / bare", seen["attached_s"] / seen["bare_s"], 1.25)
    yield Row("link calls", seen["link_calls"], 15)
    yield Row("more memory than for one function", seen["grown_kib"] / MIB, 20, "MiB")
    yield Row("Ctrl-C to ended", seen["detached_s"], unit="s")


def records(_: str) -> Iterator[Row]:
    """Decoding of ring buffer records, on this machine."""
    from decode import bulk_rate, call_rate, record_rate, shown_rate, single_rate

    from fsession.cli.formats import rare_collections
    from fsession.sinks import TextSink
    from fsession.sinks.json import JsonSink

    yield Row("records of 64 bytes to columns", bulk_rate(), 1_000_000, "a second", at_least=True)
    yield Row("records of 64 bytes one by one", single_rate(), 200_000, "a second", at_least=True)
    yield Row("records of 64 bytes to calls", call_rate(), 200_000, "a second", at_least=True)
    rare_collections()  # as every command that writes calls does
    for name, sink in (("text", TextSink), ("JSON", JsonSink)):
        yield Row(
            f"records of 64 bytes to {name}", shown_rate(sink), 3e5, "a second", at_least=True
        )
    yield Row("records of 64 bytes to a recording", record_rate(), 1e6, "a second", at_least=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", default="7.2")
    parser.add_argument("--only", default=",".join(PARTS))
    arguments = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    include = [ROOT / "tests" / "kernel" / "include"]
    source = ROOT / "bench" / "hist.bpf.c"
    (BUILD / "hist.bpf.o").write_bytes(compile_c(source, include_dirs=include))
    measure = {
        "calls": calls,
        "traced": traced,
        "hist": hist,
        "graph": graph,
        "start": start,
        "many": many,
        "records": records,
    }
    try:
        for part in arguments.only.split(","):
            print(f"\n{measure[part].__doc__} Linux {arguments.kernel} x86_64, emulated")
            for row in measure[part](arguments.kernel):
                print(row.text(), flush=True)
    except FsessionError as error:
        raise SystemExit(f"bench: {error}") from error


if __name__ == "__main__":
    main()
