"""Names that mean something inside programs: helpers, kernel functions, forms of the language."""

from __future__ import annotations

from typing import Any, NoReturn

from fsession.errors import FsessionError
from fsession.uapi import FuncId

KFUNC_PREFIX = "bpf_"
"""Kernel functions that programs may call begin so; which there are, BTF says."""

__all__ = ["FORMS", "KFUNC_PREFIX", "Intrinsic", "intrinsic"]


class Intrinsic:
    """Stands for one of them outside of programs, where it can't be called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"fsession.{self.name}"

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        error = FsessionError(f"fsession.{self.name}() was called outside of a program")
        raise error.hint("it is for functions that are compiled: see @fsession.program")


FORMS = {
    "session_is_return": "whether this is the exit",
    "session_cookie": "8 bytes from the entry of a call to its exit",
    "ret": "what the function returned",
    "emit": "send an event",
    "kstack": "the kernel's stack, for an event",
    "ustack": "the process's stack, for an event",
    "printk": "a line to the kernel's trace pipe",
    "trace_printk": "the same by the helper's name",
    "buffer": "bytes on the stack, for helpers to fill",
    "dynptr": "a dynptr on the stack, for helpers to fill",
    "log2": "the place of the highest bit",
    "cast": "a pointer or number as of another type",
    "read": "what a pointer points to, with the helper's status",
    "container_of": "the struct that a member is in",
    "get_current_comm": "the name of the thread",
    "get_current_task": "struct task_struct * of the thread",
    "get_attach_cookie": "the cookie of the attachment",
    "get_func_ip": "the address of the traced function",
    "ntohs": "16 bits from network byte order",
    "htons": "16 bits to network byte order",
    "ntohl": "32 bits from network byte order",
    "htonl": "32 bits to network byte order",
    "get_stackid": "an id of the stack, by a StackTrace map",
    "enum": "the names of an enum",
}


def intrinsic(name: str) -> Intrinsic | None:
    """What ``fsession.NAME`` is, if it is one of these."""
    known = name in FORMS or name in FuncId.__members__ or name.startswith(KFUNC_PREFIX)
    return Intrinsic(name) if known else None
