"""`fsession.calls` against the running kernel: its own prototypes, read from its memory, and what
its verifier lets tracing programs call."""

from __future__ import annotations

import platform
import re
from dataclasses import replace

import pytest

from fsession.btf.types import Func
from fsession.calls import HELPERS, Access, Arg, ArgKind, KfuncFlag, Only, kfuncs
from fsession.errors import VerifierError
from fsession.host import Feature, LoadRequest
from fsession.isa.insn import alu, call_helper, call_kfunc, exit_
from fsession.isa.opcode import R0, Alu
from fsession.uapi import AttachType, FuncId, ProgType
from memory import KernelMemory

# Where the prototype of tracing programs has not the name of the helper.
SYMBOLS = {
    "probe_read": "bpf_probe_read_compat_proto",
    "probe_read_str": "bpf_probe_read_compat_str_proto",
    "get_stackid": "bpf_get_stackid_proto_raw_tp",
    "get_stack": "bpf_get_stack_proto_raw_tp",
    "perf_event_output": "bpf_perf_event_output_proto_raw_tp",
    "get_func_ip": "bpf_get_func_ip_proto_tracing",
    "get_attach_cookie": "bpf_get_attach_cookie_proto_tracing",
    "sk_storage_get": "bpf_sk_storage_get_tracing_proto",
    "sk_storage_delete": "bpf_sk_storage_delete_tracing_proto",
    "get_socket_cookie": "bpf_get_socket_ptr_cookie_proto",
    "get_cgroup_classid": "bpf_get_cgroup_classid_curr_proto",
    "xdp_get_buff_len": "bpf_xdp_get_buff_len_trace_proto",
}
# The kernel's names of kinds that ours do not have, all releases together.
KINDS = {
    "CONST_MAP_PTR": "MAP",
    "PTR_TO_MAP_KEY": "KEY",
    "PTR_TO_MAP_VALUE": "VALUE",
    "PTR_TO_UNINIT_MAP_VALUE": "VALUE",
    "CONST_SIZE": "SIZE",
    "CONST_SIZE_OR_ZERO": "SIZE",
    "MEM_SIZE": "SIZE",  # since 7.3
    "MEM_SIZE_OR_ZERO": "SIZE",
    "CONST_ALLOC_SIZE_OR_ZERO": "ALLOC_SIZE",
    "PTR_TO_BTF_ID_SOCK_COMMON": "SOCK",
    "PTR_TO_PERCPU_BTF_ID": "PERCPU",
    "PTR_TO_CONST_STR": "CONST_STR",
    "KPTR_XCHG_DEST": "KPTR",
    "PTR_TO_ALLOC_MEM": "RINGBUF_MEM",  # until 6.1
    "PTR_TO_INT": "MEM",  # until 6.10
    "PTR_TO_LONG": "MEM",
    "SCALAR": "ANYTHING",  # which the kernel tells apart since 6.17
}
REFUSED = re.compile(r"cannot use helper|unknown func|invalid func|helper call is not allowed")
BASE = 0xFF
UNCHECKED = ("get_branch_snapshot",)  # its third argument, flags, is not in the prototype
RETURN_0 = (alu(Alu.MOV, R0, imm=0), exit_())
# What older releases have otherwise: 0 was no argument until 6.2, the bytes of get_stack were to be
# initialised until 6.13.
NOT_NULL_BEFORE_6_2 = (
    "get_socket_cookie",
    "sk_storage_get",
    "sk_storage_delete",
    "task_storage_get",
    "task_storage_delete",
)
# Flags that were others in older releases: (release, kernel function).
OTHER_FLAGS = {
    "bpf_arena_alloc_pages": ("6.12", KfuncFlag.SLEEPABLE),
    "bpf_arena_free_pages": ("6.12", KfuncFlag.SLEEPABLE),
    "bpf_dynptr_file_discard": ("7.0", KfuncFlag.RELEASE),
}


pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the same on all machines")


@pytest.fixture(scope="module")
def memory(host):
    memory = KernelMemory(host.types())
    yield memory
    memory.close()


def _kind(memory, value, enum):
    """``(base, flags)`` of a word of ``enum bpf_arg_type`` or ``bpf_return_type``."""
    flags = {name for bit, name in memory.enum("bpf_type_flag").items() if value & ~BASE & bit}
    name = memory.enum(enum)[value & BASE].removeprefix("ARG_").removeprefix("RET_")
    return name, flags


def _arg_of(name, flags):
    """What of an `Arg` all releases say."""
    kind = KINDS.get(name, name.removeprefix("PTR_TO_"))
    kind = "MEM" if kind == "FIXED_SIZE_MEM" else kind
    fills = "MEM_UNINIT" in flags or name in ("PTR_TO_INT", "PTR_TO_LONG")
    zero = name.endswith("_OR_ZERO")
    return kind, "PTR_MAYBE_NULL" in flags, fills, "OBJ_RELEASE" in flags, zero


def _ours(arg: Arg):
    kind = "ANYTHING" if arg.kind is ArgKind.SCALAR else arg.kind.name
    return kind, arg.nullable, arg.access is Access.WRITE, arg.releases, arg.zero


def test_helpers(host, memory, require):
    """Arguments, results and licenses are those of the kernel's own prototypes."""
    at = memory.offsets("bpf_func_proto")
    size = max(at.values()) + 8
    checked, wrong = 0, []
    for helper in _as_of(_release(host)):
        symbol = SYMBOLS.get(helper.name, f"bpf_{helper.name}_proto")
        if symbol not in memory.symbols:
            continue
        raw = memory.read(memory.symbols[symbol], size)
        wrong += [f"{helper.name}: {what}" for what in _differences(memory, raw, at, helper)]
        checked += 1
    assert wrong == []
    assert checked > 85


def _as_of(release):
    """The rows as a release has them."""
    for helper in HELPERS.values():
        args = list(helper.args)
        if release < (6, 13) and helper.name == "get_stack":
            args[1] = replace(args[1], access=Access.BOTH)
        if release < (6, 2) and helper.name in NOT_NULL_BEFORE_6_2:
            at = 0 if helper.name == "get_socket_cookie" else 1
            args[at] = replace(args[at], nullable=False)
        yield replace(helper, args=tuple(args))


def _differences(memory, raw, at, helper):
    """What a row has otherwise than ``struct bpf_func_proto``."""

    def word(member):
        return int.from_bytes(raw[at[member] : at[member] + 4], "little")

    found = [_kind(memory, word(f"arg{n}_type"), "bpf_arg_type") for n in range(1, 6)]
    args = [_arg_of(*row) for row in found if row[0] != "DONTCARE"]
    ours = [_ours(arg) for arg in helper.args[: 2 if helper.name in UNCHECKED else 5]]
    if args != ours:
        yield f"{args} and not {ours}"
    for n, arg in enumerate(helper.args, 1):
        if arg.type and arg.kind is ArgKind.BTF_ID:
            pointer = raw[at[f"arg{n}_btf_id"] : at[f"arg{n}_btf_id"] + 8]
            name = memory.types.name_of(memory.u32(int.from_bytes(pointer, "little")))
            if name != arg.type:
                yield f"{name} and not {arg.type}"
    result, flags = _kind(memory, word("ret_type"), "bpf_return_type")
    row = result.removeprefix("PTR_TO_").replace("ALLOC_MEM", "MEM"), "PTR_MAYBE_NULL" in flags
    if row != (helper.result.kind.name, helper.result.nullable):
        yield f"gives {row}"
    if bool(raw[at["gpl_only"]]) != helper.gpl:
        yield "license"
    if "might_sleep" in at and bool(raw[at["might_sleep"]]) != helper.sleeps:
        yield "sleeps"


def test_kernel_functions(host, memory, facts):
    """Flags are those of the kernel's sets of kernel functions."""
    vmlinux = memory.u64(memory.symbols["btf_vmlinux"])
    table = memory.u64(vmlinux + memory.offsets("btf")["kfunc_set_tab"])
    sets = table + memory.offsets("btf_kfunc_set_tab")["sets"]
    known, checked = kfuncs(), 0
    release = _release(host)
    kept = ~(KfuncFlag.TRUSTED_ARGS)
    for number, hook in memory.enum("btf_kfunc_hook").items():
        if hook.removeprefix("BTF_KFUNC_HOOK_") not in ("COMMON", "TRACING"):
            continue
        address = memory.u64(sets + 8 * number)
        for n in range(memory.u32(address) if address else 0):
            id, bits = memory.u32(address + 8 + 8 * n), memory.u32(address + 12 + 8 * n)
            row = known.get(memory.types.name_of(id))
            if row is None:
                continue
            until, other = OTHER_FLAGS.get(row.name, ("0.0", KfuncFlag(0)))
            wanted = row.flags
            if release <= _number(until):
                wanted ^= other
            assert KfuncFlag(bits & 0xFFF) & kept == wanted & kept, row.name
            checked += 1
    assert checked > (90 if release > (6, 1) else 4)


def _refusal(host, call, *, kind=AttachType.TRACE_FENTRY):
    """What the verifier says of a program that only calls; "" if it loads."""
    target = host.types().id_of("bpf_fentry_test1", Func)
    request = LoadRequest(
        name="probe", type=ProgType.TRACING, insns=(call, *RETURN_0), attach_type=kind,
        attach_btf_id=target,
    )  # fmt: skip
    try:
        host.load(request).close()
    except VerifierError as error:
        return error.log
    return ""


def test_helpers_allowed(host, require):
    """The verifier knows the helpers of the table in tracing programs, and no others."""
    require(Feature.FENTRY, True)
    release = _release(host)
    allowed = {
        id.name for id in FuncId if id and not REFUSED.search(_refusal(host, call_helper(id)))
    }
    expected = {
        helper.name
        for helper in HELPERS.values()
        if _number(helper.since) <= release and helper.only is Only.EVERYWHERE
    }
    assert allowed == expected


def test_kernel_functions_allowed(host, require):
    """Tracing programs may call the kernel functions of the table but those it says."""
    require(Feature.KFUNC_CALLS, True)
    types, wrong = host.types(), []
    for row in kfuncs().values():
        id = types.find(row.name, Func)
        if id is None or row.name.startswith("scx_") or _release(host) == (6, 1):
            continue
        said = _refusal(host, call_kfunc(id))
        refused = f"calling kernel function {row.name} is not allowed" in said
        if refused != (row.only is not Only.EVERYWHERE):
            wrong.append((row.name, row.only, said.splitlines()[:1]))
    assert wrong == []


def _number(release):
    return tuple(map(int, release.split(".")))


def _release(host):
    return host.version_code() >> 16, host.version_code() >> 8 & 0xFF
