"""Figures of the embedded engine, on this machine: engine.py [calls,others,programs,code,many].

Times are of the thread's own CPU time, pinned to one core, medians of rounds in which the ways
follow each other; a ratio is the median of the rounds' ratios. `others` needs uftrace and frida:
`make bench` installs them where it can; what is missing is left out and named. `code` counts
machine instructions: see engine_code.py.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from run import Row

from fsession.btf.types import Func
from fsession.engine import Machine
from fsession.host import LoadRequest
from fsession.isa.asm import assemble
from fsession.uapi import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = Path(__file__).with_name("engine.c")
CALLS, ROUNDS = 1_000_000, 15
OTHER_CALLS = 300_000
SESSION, MULTI = AttachType.TRACE_FSESSION, AttachType.TRACE_FSESSION_MULTI
# Two loads from the context, arithmetic, a store to the stack and a load of it, a branch.
TEN = """
    r2 = *(u64 *)(r1 +0)
    r3 = *(u64 *)(r1 +8)
    r2 += r3
    r2 *= 3
    *(u64 *)(r10 -8) = r2
    r4 = *(u64 *)(r10 -8)
    if r4 > 100 goto end
    r4 = 0
end:
    r0 = 0
    exit
"""
TEN_OF_MANY = TEN.replace("*(u64 *)(r1 +0)", "1").replace("*(u64 *)(r1 +8)", "2")
FIFTY = (
    "r6 = *(u64 *)(r1 +0)\n r7 = 0\n"
    + "".join(
        f"r7 += {at}\n if r6 != {at} goto l{at}\n r7 ^= r6\n l{at}:\n r7 <<= 1\n"
        for at in range(11)
    )
    + "*(u64 *)(r10 -8) = r7\n r0 = 0\n exit"
)


def library(folder: Path, source: Path = SOURCE) -> Path:
    """`source` as a shared library with patchable entries."""
    out = folder / f"{source.stem}.so"
    entry = "5" if os.uname().machine == "x86_64" else "2"
    flags = ["-O2", "-fPIC", "-shared", "-Wl,-Bsymbolic", f"-fpatchable-function-entry={entry}"]
    subprocess.run(["gcc", *flags, str(source), "-o", str(out)], check=True)
    return out


def load(machine: Machine, text: str, target: str = "", kind: AttachType = SESSION):  # noqa: ANN201
    id = machine.types().id_of(target, Func) if target else 0
    request = LoadRequest("bench", ProgType.TRACING, assemble(text), kind, attach_btf_id=id)
    return machine.load(request)


def ns(function: Callable[..., int], count: int, *more: object) -> float:
    """Of one of `count` calls that `function` makes."""
    start = time.thread_time_ns()
    function(ctypes.c_long(count), *more)
    return (time.thread_time_ns() - start) / count


def calls() -> Iterator[Row]:
    """Entry and exit of a cheap native function."""
    with tempfile.TemporaryDirectory() as folder, Machine() as machine:
        path = str(library(Path(folder)))
        machine.library(path, "long cheap(long a, long b)")
        native = ctypes.CDLL(path)
        program = load(machine, TEN, "cheap")
        rounds = []
        for _ in range(ROUNDS):
            plain = ns(native.loop_cheap, CALLS)
            by_hand = ns(native.loop_by_hand, CALLS)
            with machine.link(program, SESSION):
                rounds.append((plain, by_hand, ns(native.loop_cheap, CALLS)))
        assert program.info.run_cnt == 2 * CALLS * ROUNDS
        plain, by_hand, session = map(statistics.median, zip(*rounds, strict=True))
    yield Row("not traced", plain, unit="ns")
    yield Row("trampoline in C, empty enter and exit hook", by_hand, unit="ns")
    yield Row("session, 10 instructions on each side", session, unit="ns")
    ratio = statistics.median(with_it / hand for _, hand, with_it in rounds)
    yield Row("session / trampoline in C", ratio, 5)


_TO_INSTALL = "apt-get install uftrace, pip install --group bench"


def others() -> Iterator[Row]:
    """The same function by other tracers, side by side with a session."""
    ways = {"uftrace record": by_uftrace, "frida, native callbacks": by_frida}
    with tempfile.TemporaryDirectory() as folder, Machine() as machine:
        path = str(library(Path(folder)))
        machine.library(path, "long cheap(long a, long b)")
        native = ctypes.CDLL(path)
        driver = Path(folder) / "driver"
        entry = "5" if os.uname().machine == "x86_64" else "2"
        flags = ["-O2", "-DDRIVER", "-rdynamic", f"-fpatchable-function-entry={entry}"]
        subprocess.run(["gcc", *flags, str(SOURCE), "-o", str(driver)], check=True)
        with machine.link(load(machine, TEN, "cheap"), SESSION):
            for (name, way), limit in zip(ways.items(), (5, 8), strict=True):
                seen = [(way(driver), ns(native.loop_cheap, CALLS)) for _ in range(5)]
                if any(theirs is None for theirs, _ in seen):
                    print(f"{name}: left out, it is not on this machine: {_TO_INSTALL}")
                    continue
                yield Row(name, statistics.median(theirs for theirs, _ in seen), unit="ns")
                ratio = statistics.median(theirs / ours for theirs, ours in seen)
                yield Row(f"{name} / session", ratio, limit, at_least=True)


def by_uftrace(driver: Path) -> float | None:
    tool = shutil.which("uftrace")
    if not tool:
        return None
    words = [tool, "record", "-P", "^cheap$", "--no-libcall", "-d", str(driver.parent / "data")]
    done = subprocess.run(
        [*words, str(driver), str(OTHER_CALLS)], input="\n", capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


_FRIDA = """
const hooks = new CModule('#include <gum/guminterceptor.h>\\n'
  + 'void enter(GumInvocationContext *ic) {} void leave(GumInvocationContext *ic) {}');
const cheap = Process.mainModule.getExportByName('cheap');
Interceptor.attach(cheap, {onEnter: hooks.enter, onLeave: hooks.leave});
"""


def by_frida(driver: Path) -> float | None:
    try:
        import frida
    except ImportError:
        return None
    with subprocess.Popen(
        [str(driver), str(OTHER_CALLS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        session = frida.attach(process.pid)
        session.create_script(_FRIDA).load()
        out, _ = process.communicate("\n")
    return float(out.split()[-1])


def programs() -> Iterator[Row]:
    """Programs of the machine."""
    with tempfile.TemporaryDirectory() as folder, Machine() as machine:
        native = ctypes.CDLL(str(library(Path(folder))))
        program = load(machine, TEN, "bpf_fentry_test2")
        context = (ctypes.c_uint64 * 4)(1, 2)
        entry, words = ctypes.c_void_p(program.entry), ctypes.byref(context)
        program.run(ctypes.addressof(context))  # the thread's block
        times = [ns(native.loop_program, CALLS, entry, words) for _ in range(ROUNDS)]
        yield Row("a run of 10 instructions, the call included", statistics.median(times), 4, "ns")
        loads = []
        for _ in range(ROUNDS):
            start = time.thread_time_ns()
            load(machine, FIFTY, "bpf_fentry_test1").close()
            loads.append((time.thread_time_ns() - start) / 1e6)
    what = f"verify and compile {len(assemble(FIFTY))} instructions"
    yield Row(f"{what}, the first time", loads[0], unit="ms")
    yield Row(what, statistics.median(loads), 20, "ms")


def many() -> Iterator[Row]:
    """1,000 functions of a shared library by one link."""
    with tempfile.TemporaryDirectory() as folder, Machine() as machine:
        source = Path(folder) / "many.c"
        bodies = [f"long many_{at}(long a) {{ return a + {at}; }}\n" for at in range(1000)]
        source.write_text("".join(bodies))
        path = str(library(Path(folder), source))
        for at in range(1000):
            machine.library(path, f"long many_{at}(long a)")
        types = machine.types()
        ids = [types.id_of(f"many_{at}", Func) for at in range(1000)]
        program = load(machine, TEN_OF_MANY, kind=MULTI)
        start = time.thread_time()
        link = machine.link_multi(program, MULTI, ids)
        yield Row("attach", time.thread_time() - start, 1, "s")
        assert ctypes.CDLL(path).many_7(1) == 8
        assert program.info.run_cnt == 2
        start = time.thread_time()
        link.close()
        yield Row("detach", time.thread_time() - start, unit="s")


def code() -> Iterator[Row]:
    """Machine instructions executed for one BPF instruction executed, programs of examples/."""
    from engine_code import ratios

    for name, limit in (("x86_64", 1.3), ("arm64", 1.4)):
        found = ratios(name)
        machine = sum(ours for ours, _ in found.values())
        bpf = sum(theirs for _, theirs in found.values())
        worst = max(found, key=lambda key: found[key][0] / found[key][1])
        yield Row(f"{name}: {len(found)} programs", machine / bpf, limit)
        yield Row(f"{name}: the most, {worst}", found[worst][0] / found[worst][1])


PARTS = {part.__name__: part for part in (calls, others, programs, many, code)}


def main() -> int:
    """Each part in a process of its own: frida leaves threads behind, and some entries are only
    changed while there is one thread."""
    names = sys.argv[1].split(",") if sys.argv[1:] else [*PARTS]
    if len(names) > 1:
        runs = [subprocess.run([sys.executable, __file__, name], check=False) for name in names]
        return max(run.returncode for run in runs)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"\n{PARTS[names[0]].__doc__}")
    for row in PARTS[names[0]]():
        print(row.text(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
