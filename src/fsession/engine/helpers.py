"""What each helper and kfunc does, as BPF of our own: one text for all architectures.

Those that are met in every call are short code that stands where the call stood (`INLINE`, from r1
to r0); the others are functions (`FUNCTIONS`). What is rare and needs Python is in `slow.py`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from fsession.engine.faults import faults
from fsession.engine.fd_arrays import EVENT_OUTPUT
from fsession.engine.map_parts import LOCK, UNLOCK
from fsession.engine.native import Function, architecture, compile_text
from fsession.engine.ring_calls import RING_CALLS
from fsession.engine.stacks import STACK_CALLS, stack_call
from fsession.engine.storage import STORAGE_DELETE, STORAGE_GET
from fsession.engine.threads import COOKIE, CPU, FAULT, PID, TASK, threads
from fsession.isa.asm import assemble

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FUNCTIONS", "INLINE", "TASKS", "function", "inline"]

SESSION_COOKIE = """
    r0 = *(u64 *)(r1 -8)
    r0 >>= 8
    r0 &= 255
    r0 <<= 3
    r0 -= r1
    r0 = -r0
"""
INLINE = {
    "bpf_session_is_return": "r0 = *(u64 *)(r1 -8)\n r0 >>= 63",
    "bpf_session_cookie": SESSION_COOKIE,
    "bpf_get_func_ip": "r0 = *(u64 *)(r1 -16)",
    "bpf_get_func_arg_cnt": "r0 = *(u8 *)(r1 -8)",
    "bpf_cast_to_kern_ctx": "r0 = r1",
    "bpf_rdonly_cast": "r0 = r1",
    "bpf_rcu_read_lock": "r0 = 0",
    "bpf_rcu_read_unlock": "r0 = 0",
    "bpf_preempt_disable": "r0 = 0",
    "bpf_preempt_enable": "r0 = 0",
    "bpf_iter_num_destroy": "r0 = 0",
    "bpf_get_numa_node_id": "r0 = 0",
}
# The same, of the thread's block: offset of the word.
OF_BLOCK = {
    "bpf_get_smp_processor_id": CPU,
    "bpf_get_current_pid_tgid": PID,
    "bpf_get_attach_cookie": COOKIE,
}

# A task is a place in the thread's block.
TASKS = ("bpf_get_current_task_btf", "bpf_get_current_task")

_CLOCK = """
    r1 = {clock}
    r2 = r10
    r2 += -16
    call c:clock_gettime
    r0 = *(u64 *)(r10 -16)
    r0 *= 1000000000
    r1 = *(u64 *)(r10 -8)
    r0 += r1
    exit
"""
# r1 to, r2 size, r3 from. A fault reads 0 and leaves a mark in the thread's block.
_PROBE_READ = f"""
    r6 = r1
    r7 = r2
    r8 = r3
    r7 <<= 32
    r7 >>= 32
    call c:thread
    r9 = r0
    *(u64 *)(r9 +{FAULT}) = 0
    r2 = r6
    r3 = r7
words:
    if r3 < 8 goto bytes
    r4 = *(u64 *)(r8 +0)
    *(u64 *)(r2 +0) = r4
    r8 += 8
    r2 += 8
    r3 += -8
    goto words
bytes:
    if r3 == 0 goto done
    r4 = *(u8 *)(r8 +0)
    *(u8 *)(r2 +0) = r4
    r8 += 1
    r2 += 1
    r3 += -1
    goto bytes
done:
    r1 = *(u64 *)(r9 +{FAULT})
    r0 = 0
    if r1 == 0 goto out
    r1 = r6
    r2 = 0
    r3 = r7
    call c:memset
    r0 = -14
out:
    exit
"""
# The same up to a NUL, which is counted; what does not fit is cut.
_PROBE_READ_STR = f"""
    r6 = r1
    r7 = r2
    r8 = r3
    r7 <<= 32
    r7 >>= 32
    if r7 == 0 goto nothing
    call c:thread
    r9 = r0
    *(u64 *)(r9 +{FAULT}) = 0
    r0 = 0
again:
    r4 = *(u8 *)(r8 +0)
    r5 = *(u64 *)(r9 +{FAULT})
    if r5 != 0 goto fault
    r1 = r6
    r1 += r0
    r0 += 1
    if r0 == r7 goto cut
    *(u8 *)(r1 +0) = r4
    r8 += 1
    if r4 != 0 goto again
    exit
cut:
    *(u8 *)(r1 +0) = 0
    exit
fault:
    r1 = r6
    r2 = 0
    r3 = r7
    call c:memset
    r0 = -14
    exit
nothing:
    r0 = 0
    exit
"""
# TASK_COMM_LEN bytes of the thread's name, padded by zeros.
_COMM = """
    r6 = r1
    r7 = r2
    r7 <<= 32
    r7 >>= 32
    r2 = 0
    r3 = r7
    call c:memset
    r1 = 16
    r2 = r10
    r2 += -16
    call c:prctl
    if r7 s> 16 goto whole
    r3 = r7
    goto copy
whole:
    r3 = 16
copy:
    r1 = r6
    r2 = r10
    r2 += -16
    call c:memcpy
    r6 += r7
    *(u8 *)(r6 -1) = 0
    r0 = 0
    exit
"""
_UID_GID = """
    call c:getgid
    r6 = r0
    r6 <<= 32
    call c:getuid
    w0 = w0
    r0 |= r6
    exit
"""
_FUNC_ARG = """
    r4 = *(u8 *)(r1 -8)
    w2 = w2
    if r2 >= r4 goto none
    r2 <<= 3
    r1 += r2
    r4 = *(u64 *)(r1 +0)
    *(u64 *)(r3 +0) = r4
    r0 = 0
    exit
none:
    *(u64 *)(r3 +0) = 0
    r0 = -22
    exit
"""
_FUNC_RET = """
    r4 = *(u8 *)(r1 -8)
    r4 <<= 3
    r1 += r4
    r4 = *(u64 *)(r1 +0)
    *(u64 *)(r2 +0) = r4
    r0 = 0
    exit
"""
_OF_MAP = "r5 = *(u64 *)(r1 +{})\n callx r5\n exit"
# r1 how often, r2 callback, r3 its context, r4 flags: how often it was called.
_LOOP = """
    if r4 != 0 goto invalid
    if w1 > 8388608 goto long
    r6 = r1
    r6 <<= 32
    r6 >>= 32
    r7 = r2
    r8 = r3
    r9 = 0
again:
    if r9 >= r6 goto done
    r1 = r9
    r2 = r8
    callx r7
    r9 += 1
    if r0 == 0 goto again
done:
    r0 = r9
    exit
invalid:
    r0 = -22
    exit
long:
    r0 = -7
    exit
"""
_SPIN_LOCK = """
    r6 = r1
again:
    r0 = 0
    r1 = 1
    r0 = atomic_cmpxchg((u32 *)(r6 +0), r0, r1)
    if w0 == 0 goto out
    call c:sched_yield
    goto again
out:
    exit
"""
_STRNCMP = "w2 = w2\n r4 = r2\n r2 = r3\n r3 = r4\n call c:strncmp\n exit"
_NUM_NEW = """
    r2 = (s32)r2
    r3 = (s32)r3
    *(u64 *)(r1 +0) = 0
    r0 = -22
    if r2 s> r3 goto out
    r4 = r3
    r4 -= r2
    r0 = -7
    if r4 s> 8388608 goto out
    r2 += -1
    *(u32 *)(r1 +0) = r2
    *(u32 *)(r1 +4) = r3
    r0 = 0
out:
    exit
"""
_NUM_NEXT = """
    r2 = *(s32 *)(r1 +0)
    r3 = *(s32 *)(r1 +4)
    r2 += 1
    if r2 s>= r3 goto end
    *(u32 *)(r1 +0) = r2
    r0 = r1
    exit
end:
    *(u64 *)(r1 +0) = 0
    r0 = 0
    exit
"""

FUNCTIONS = {
    **RING_CALLS,
    "bpf_map_lookup_elem": _OF_MAP.format(16),
    "bpf_map_update_elem": _OF_MAP.format(24),
    "bpf_map_delete_elem": _OF_MAP.format(32),
    "bpf_perf_event_output": EVENT_OUTPUT,
    "bpf_task_storage_get": STORAGE_GET,
    "bpf_task_storage_delete": STORAGE_DELETE,
    "bpf_probe_read": _PROBE_READ,
    "bpf_probe_read_kernel": _PROBE_READ,
    "bpf_probe_read_user": _PROBE_READ,
    "bpf_copy_from_user": _PROBE_READ,
    "bpf_probe_read_str": _PROBE_READ_STR,
    "bpf_probe_read_kernel_str": _PROBE_READ_STR,
    "bpf_probe_read_user_str": _PROBE_READ_STR,
    "bpf_ktime_get_ns": _CLOCK.format(clock=1),
    "bpf_ktime_get_boot_ns": _CLOCK.format(clock=7),
    "bpf_ktime_get_coarse_ns": _CLOCK.format(clock=6),
    "bpf_ktime_get_tai_ns": _CLOCK.format(clock=11),
    "bpf_get_prandom_u32": "call c:random\n r6 = r0\n call c:random\n r0 <<= 16\n r0 ^= r6\n"
    " w0 = w0\n exit",
    "bpf_get_current_uid_gid": _UID_GID,
    "bpf_get_current_comm": _COMM,
    "bpf_get_func_arg": _FUNC_ARG,
    "bpf_get_func_ret": _FUNC_RET,
    "bpf_loop": _LOOP,
    "bpf_spin_lock": _SPIN_LOCK,
    "bpf_spin_unlock": "r2 = 0\n store_release((u32 *)(r1 +0), r2)\n r0 = 0\n exit",
    "bpf_strncmp": _STRNCMP,
    "bpf_iter_num_new": _NUM_NEW,
    "bpf_iter_num_next": _NUM_NEXT,
}


@cache
def inline(name: str) -> bytes | None:
    """Code to stand where the call stood; None if it is a function."""
    if name in INLINE:
        code: bytes = architecture().inline_code(assemble(INLINE[name]))
        return code
    if name in OF_BLOCK:
        word: bytes = architecture().inline_code(assemble(f"r0 = *(u64 *)(r0 +{OF_BLOCK[name]})"))
        whole: bytes = threads().load + word
        return whole
    if name in TASKS:
        add: bytes = architecture().inline_code(assemble(f"r0 += {TASK}"))
        task: bytes = threads().load + add
        return task
    return None


@cache
def function(name: str) -> Function | None:
    """The function; None if the engine has none of this name."""
    text = stack_call(name) if name in STACK_CALLS else FUNCTIONS.get(name)
    if text is None:
        return None
    made = compile_text(text, _parts())
    faults().add(made.image, made.code)
    return made


class _Parts(dict[str, "int | bytes"]):
    """What functions call, compiled when it is first asked for."""

    def __contains__(self, name: object) -> bool:
        return name in _PARTS

    def __missing__(self, name: str) -> int | bytes:
        self[name] = found = _part(name)
        return found


_PARTS = {
    "thread": "",
    "get_stack": "",
    "lock": LOCK,
    "unlock": UNLOCK,
    "reserve": FUNCTIONS["bpf_ringbuf_reserve"],
    "submit": FUNCTIONS["bpf_ringbuf_submit"],
}
_kept: list[Function] = []


@cache
def _parts() -> Mapping[str, int | bytes]:
    return _Parts()


def _part(name: str) -> int | bytes:
    if name == "thread":
        load: bytes = threads().load
        return load
    if name == "get_stack":
        whole = function("bpf_get_stack")
        assert whole
        return whole.address
    made = compile_text(_PARTS[name], _parts())
    _kept.append(made)
    return made.address
