"""Run as another user with some capabilities: attach a session, make a call, print what was seen.

unprivileged.py OBJECTS STRATEGY [CAPABILITY...]
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
import threading
from pathlib import Path

USER = 1000
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_KEEPCAPS = 8
_VERSION_3 = 0x20080522  # struct __user_cap_header_struct: two 32-bit halves of each set


def become(user: int, capabilities: list[str]) -> None:
    """Change the user and keep only `capabilities`."""
    mask = sum(1 << CAPABILITIES[name] for name in capabilities)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    _check(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    sets = struct.pack("=6I", low, low, 0, high, high, 0)
    _check(_libc.capset(struct.pack("=Ii", _VERSION_3, 0), sets))


def _check(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def attach_and_call(objects: Path, strategy: str) -> dict[str, int]:
    from fsession import Object

    obj = Object.open(objects / "sessions.bpf.o")
    for name, program in obj.programs.items():
        program.autoload = name in ("poke", "session_a")
    with obj.load(), obj.programs["session_a"].attach(strategy=strategy):
        obj.globals["only_tid"] = threading.get_native_id()
        obj.programs["poke"].test_run()
        names = ("entries", "exits", "mismatches")
        return {"uid": os.getuid(), **{name: obj.globals[name] for name in names}}


def main() -> None:
    from fsession import FsessionError

    objects, strategy, *capabilities = sys.argv[1:]
    become(USER, capabilities)
    try:
        outcome: dict[str, object] = dict(attach_and_call(Path(objects), strategy))
    except FsessionError as error:
        notes = getattr(error, "__notes__", [])
        outcome = {
            "error": "\n".join([str(error), *notes]),
            "errno": getattr(error, "errno", 0),
            "type": type(error).__name__,
        }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
