"""Everything, in as little time as two cores allow: the guests' suite beside the other tests.

The guests take one core. What they say is shown when the other tests have ended: first what they
have said until then, then live.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

_BESIDE = ("test-unit", "test-kernel")


def main() -> int:
    with tempfile.NamedTemporaryFile() as log:
        guests = subprocess.Popen(
            ["make", "--no-print-directory", "test-guests"], stdout=log, stderr=log
        )
        try:
            beside = subprocess.run(["make", "--no-print-directory", *_BESIDE], check=False)
            _follow(Path(log.name), guests)
        finally:
            if guests.poll() is None:
                guests.terminate()
            guests.wait()
    return beside.returncode or guests.returncode


def _follow(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Show what is written to `path` until the process has ended and all of it was shown."""
    with path.open("rb") as file:
        while True:
            ended = process.poll() is not None
            text = file.read()
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
            if ended:
                return
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
