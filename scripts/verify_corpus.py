"""Ask real verifiers about the corpus of tests/verify: verify_corpus.py 6.12 7.2 [TABLE…]

Boots a guest for each series, loads every program in it and writes tests/verify/confirmed.json.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from fsession.errors import GuestError
from fsession.guest import StderrProgress, run

TESTS = Path(__file__).parent.parent / "tests" / "verify"
CONFIRMED = TESTS / "confirmed.json"
TIMEOUT_S = 150


class _Kept(io.RawIOBase):
    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)


def ask(series: str) -> dict[str, str]:
    """What the verifier of `series` says of each program."""
    out = _Kept()
    status = run(
        ["python3", "-u", "/root/verify/confirm.py"],
        kernel=series,
        timeout_s=TIMEOUT_S,
        copies={str(TESTS): "/root/verify"},
        stdout=out,  # type: ignore[arg-type]
        progress=StderrProgress(),
    )
    if status:
        raise GuestError(f"asking Linux {series} ended with {status}")
    found: dict[str, str] = json.loads(out.data.decode().splitlines()[-1])
    return found


def main() -> None:
    known = json.loads(CONFIRMED.read_text()) if CONFIRMED.exists() else {}
    for series in sys.argv[1:]:
        known[series] = ask(series)
        accepted = sum(not words for words in known[series].values())
        sys.stderr.write(f"Linux {series}: {len(known[series])} programs, {accepted} accepted\n")
    text = json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False)
    CONFIRMED.write_text(text + "\n")


if __name__ == "__main__":
    main()
