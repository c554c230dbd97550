"""Names that mean something inside programs: helpers, session kfuncs, forms of the language."""

from __future__ import annotations

from typing import Any, NoReturn

from fsession.errors import FsessionError
from fsession.frozen import frozen
from fsession.uapi import FuncId

KFUNC_PREFIX = "bpf_"
"""Kernel functions that programs may call begin so; which there are, BTF says."""

__all__ = ["FORMS", "HELPERS", "KFUNC_PREFIX", "HelperForm", "Intrinsic", "intrinsic"]


class Intrinsic:
    """Stands for one of them outside of programs, where it can't be called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"fsession.{self.name}"

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        error = FsessionError(f"fsession.{self.name}() was called outside of a program")
        raise error.hint("it is for functions that are compiled: see @fsession.program")


@frozen
class HelperForm:
    """A helper of numbers: how many it takes, and the result's width in bytes and sign."""

    function: FuncId
    args: int
    size: int = 8
    signed: bool = False


HELPERS = {
    "ktime_get_ns": HelperForm(FuncId.ktime_get_ns, 0),
    "ktime_get_boot_ns": HelperForm(FuncId.ktime_get_boot_ns, 0),
    "ktime_get_coarse_ns": HelperForm(FuncId.ktime_get_coarse_ns, 0),
    "jiffies64": HelperForm(FuncId.jiffies64, 0),
    "get_current_pid_tgid": HelperForm(FuncId.get_current_pid_tgid, 0),
    "get_current_uid_gid": HelperForm(FuncId.get_current_uid_gid, 0),
    "get_current_cgroup_id": HelperForm(FuncId.get_current_cgroup_id, 0),
    "get_current_ancestor_cgroup_id": HelperForm(FuncId.get_current_ancestor_cgroup_id, 1),
    "get_smp_processor_id": HelperForm(FuncId.get_smp_processor_id, 0, 4),
    "get_numa_node_id": HelperForm(FuncId.get_numa_node_id, 0, 4),
    "get_prandom_u32": HelperForm(FuncId.get_prandom_u32, 0, 4),
    "send_signal": HelperForm(FuncId.send_signal, 1, 8, True),
    "send_signal_thread": HelperForm(FuncId.send_signal_thread, 1, 8, True),
}
"""Helpers by their names (include/uapi/linux/bpf.h) whose arguments are numbers."""

FORMS = {
    "session_is_return": "whether this is the exit",
    "session_cookie": "8 bytes from the entry of a call to its exit",
    "ret": "what the function returned",
    "emit": "send an event",
    "kstack": "the kernel's stack, for an event",
    "printk": "a line to the kernel's trace pipe",
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
    known = name in HELPERS or name in FORMS or name.startswith(KFUNC_PREFIX)
    return Intrinsic(name) if known else None
