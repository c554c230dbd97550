"""Run the kernel suite, tests/kernel, inside guests: test_guest.py 7.2:x86_64 [6.12:arm64 …].

7.2:arm64:engine runs it on the embedded engine, in that guest. One guest after the other. The C
programs of the suite are compiled here, once; they fit themselves to each kernel. Ends with one
line for each guest, and the sum of the tests.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from fsession.errors import FsessionError
from fsession.guest import StderrProgress, run
from guest_btf import BUILD, guest_btf

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 1500
OBJECTS = BUILD / "objects"
_COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error)")


class Tee(io.RawIOBase):
    """Shows what the guest writes and keeps it, for the counts in the last line."""

    def __init__(self) -> None:
        self.text = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        self.text += data
        return len(data)


def build_objects() -> None:
    """Compile the suite's programs against the types of Linux 7.2."""
    tests = ROOT / "tests"
    btf = ["--btf", str(guest_btf("7.2"))]
    makers = {"kernel/build.py": OBJECTS, "lang/make_batches.py": OBJECTS / "expressions.json"}
    for maker, out in makers.items():
        command = [sys.executable, str(tests / maker), *btf, "--out", str(out)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(tests)})


def run_suite(
    kernel: str, arch: str, host: str, words: list[str]
) -> tuple[int, dict[str, int], float]:
    """Exit status, counts of outcomes, seconds."""
    tee, start = Tee(), time.monotonic()
    status = run(
        ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, "/root/tests/kernel"],
        kernel=kernel,
        arch=arch,
        timeout_s=TIMEOUT_S,
        copies={
            str(ROOT / "tests" / "kernel"): "/root/tests/kernel",
            str(ROOT / "pyproject.toml"): "/root/pyproject.toml",
            str(ROOT / "examples"): "/root/examples",
            str(OBJECTS): "/root/objects",
        },
        env={
            "FSESSION_KERNEL": kernel,
            "FSESSION_TEST_OBJECTS": "/root/objects",
            "FSESSION_REQUIRE": host,
            "FSESSION_TEST_HOST": host,
            "PYTEST_ADDOPTS": os.environ.get("PYTEST_ADDOPTS", ""),
        },
        stdout=tee,  # type: ignore[arg-type]
        progress=StderrProgress(),
    )
    last = [line for line in tee.text.decode(errors="replace").splitlines() if line.strip()][-1:]
    counts = {name: int(number) for number, name in _COUNTS.findall("".join(last))}
    return status, counts, time.monotonic() - start


def main(arguments: list[str]) -> int:
    guests = [word for word in arguments if re.fullmatch(r"[\d.]+:\w+(:engine)?", word)]
    words = [word for word in arguments if word not in guests]
    rows, total, failed = [], {"passed": 0, "failed": 0, "skipped": 0}, 0
    try:
        build_objects()
        for guest in guests:
            kernel, arch, host = f"{guest}:kernel".split(":")[:3]
            sys.stdout.write(f"\n=== kernel suite on Linux {kernel} {arch}, host: {host}\n")
            sys.stdout.flush()
            status, counts, took_s = run_suite(kernel, arch, host, words)
            verdict = "ok" if status == 0 else f"FAILED (exit status {status})"
            numbers = ", ".join(f"{count} {name}" for name, count in counts.items())
            rows.append(f"Linux {kernel:<5} {arch:<7} {took_s:5.0f} s  {numbers}  {verdict}")
            failed += status != 0
            for name in total:
                total[name] += counts.get(name, 0)
    except FsessionError as error:
        sys.stderr.write("\n".join([f"test_guest: {error}", *getattr(error, "__notes__", ())]))
        return 1
    sys.stdout.write("\n" + "\n".join(rows) + "\n")
    sys.stdout.write(
        f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
