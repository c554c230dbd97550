"""Which functions programs of some kinds may be for: those that change a result, those that sleep.

The kernel allows security hooks, system calls (since 7.2), functions marked for tests, and those
of its list for error injection. The list is nowhere to be read, but a kernel that was built without
it (CONFIG_FUNCTION_ERROR_INJECTION) has no function to look into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Func
from fsession.uapi import AttachType
from fsession.verify.problem import NotJudgedError, RefusedError

if TYPE_CHECKING:
    from fsession.verify.limits import Limits
    from fsession.verify.subject import Subject

__all__ = ["check_target"]

_FOR_TESTS = {
    "bpf_fentry_test1": (6, 2),
    "bpf_modify_return_test": (6, 2),
    "bpf_modify_return_test2": (6, 5),
    "bpf_modify_return_test_tp": (6, 10),
}
_SLEEP_FOR_TESTS = {"bpf_fentry_test1": (6, 2)}
_SYSTEM_CALLS, _SYSTEM_CALLS_SINCE = ("__x64_sys_", "__arm64_sys_"), (7, 2)
_HOOKS = "security_"
_LOOKUP = "within_error_injection_list"


def check_target(subject: Subject, limits: Limits) -> None:
    """Raises where a tracing program may not be for its target."""
    name = subject.target_name
    if subject.any_target or subject.attach_type == AttachType.TRACE_RAW_TP:
        return
    changes = subject.attach_type == AttachType.MODIFY_RETURN
    if not name:
        if changes:
            raise NotJudgedError("which function is changed")
        return
    if changes and not (name.startswith(_HOOKS) or _is_listed(name, _FOR_TESTS, limits)):
        _refuse(
            subject,
            f"{name}() is not modifiable",
            "fmod_ret programs are for security_ functions and, since Linux 7.2, system calls",
        )
    if subject.sleepable and not _is_listed(name, _SLEEP_FOR_TESTS, limits):
        _refuse(
            subject,
            f"{name} is not sleepable",
            "programs that sleep are for system calls, since Linux 7.2",
        )


def _is_listed(name: str, names: dict[str, tuple[int, int]], limits: Limits) -> bool:
    if name.startswith(_SYSTEM_CALLS):
        return limits.version >= _SYSTEM_CALLS_SINCE
    return limits.version >= names.get(name, (99, 0))


def _refuse(subject: Subject, message: str, advice: str) -> None:
    if subject.types is None or subject.types.find(_LOOKUP, Func) is not None:
        raise NotJudgedError(f"{message}, unless the kernel's list for error injection has it")
    raise RefusedError(message, advice=advice)
