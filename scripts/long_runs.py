"""Long runs of the tracer in guests: long_runs.py [--seconds 600] [--cycles 1000] [7.2:x86_64 …].

`tests/kernel/endurance.py` says what is run and checked.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fsession.errors import FsessionError
from fsession.guest import StderrProgress, run

SUITE = Path(__file__).parent.parent / "tests" / "kernel"
START_S = 120
CYCLE_S = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("guests", nargs="*", default=["7.2:x86_64"])
    arguments = parser.parse_args()
    runs = {
        ("rate", arguments.seconds): arguments.seconds + START_S,
        ("cycles", arguments.cycles): CYCLE_S * arguments.cycles + START_S,
    }
    failed = 0
    for guest in arguments.guests:
        kernel, arch = guest.split(":")
        for (kind, amount), timeout_s in runs.items():
            print(f"=== {kind} {amount} on Linux {kernel} {arch}", flush=True)
            status = run(
                ["python3", "-u", "/root/kernel/endurance.py", kind, str(amount)],
                kernel=kernel,
                arch=arch,
                timeout_s=timeout_s,
                copies={str(SUITE): "/root/kernel"},
                progress=StderrProgress(),
            )
            failed += status != 0
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FsessionError as error:
        sys.exit(f"long_runs: {error}")
