"""What the running kernel can do, found by trying: one small function for each `Feature`.

A probe returns if the feature is there and raises what the kernel answered if not. A load proves
little (an attach type may be known and its link refused), so attach types are linked to a test
function of the kernel, ``bpf_fentry_test1``, that nobody calls but a test run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fsession.btf.types import Func, Int
from fsession.errors import (
    KernelError,
    NotFoundError,
    UnsupportedError,
    VerifierError,
    errno_name,
)
from fsession.host import Feature, LoadRequest
from fsession.isa.insn import (
    Insn,
    InsnOff,
    alu,
    atomic,
    call_helper,
    call_kfunc,
    exit_,
    st,
)
from fsession.isa.opcode import R0, R1, R10, Alu, Atomic, Size
from fsession.kernel.layout import pack
from fsession.kernel.link import link_multi, link_tracing
from fsession.kernel.map import create_map
from fsession.kernel.program import load_program
from fsession.kernel.syscall import Buffer, bpf_common, bpf_fd
from fsession.spec import FuncInfo, MapSpec
from fsession.uapi import AttachType, Cmd, FuncId, MapType, ProgType, UpdateFlag

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.host import Fd
    from fsession.kernel.btf import BtfStore
    from fsession.kernel.program import KernelProgram

__all__ = ["Prober"]

TARGET = "bpf_fentry_test1"  # net/bpf/test_run.c: exists to be traced
# Which functions sleepable programs may trace differs: test functions, system calls.
SLEEPABLE_TARGETS = (TARGET, "__x64_sys_getpid", "__arm64_sys_getpid")
MANY_ARGUMENTS = "ip_make_skb"  # 10 words, and seldom called
_RETURN_0 = (alu(Alu.MOV, R0, imm=0), exit_())


class Prober:
    """Answers of one kernel; what was conclusive is asked once."""

    def __init__(self, btf: BtfStore) -> None:
        self._btf = btf
        self._answers: dict[Feature, str] = {}

    def why_not(self, feature: Feature) -> str:
        """ "" if the feature is there, else what the kernel answered.

        Lack of privilege is no answer: it is raised, and the question stays open.
        """
        if feature not in self._answers:
            try:
                _PROBES[feature](self)
            except (KernelError, UnsupportedError, NotFoundError) as error:
                if isinstance(error, KernelError) and error.errno == 1:  # EPERM
                    raise
                self._answers[feature] = _words(error)
            else:
                self._answers[feature] = ""
        return self._answers[feature]

    def _load(
        self,
        attach_type: AttachType,
        *insns: Insn,
        target: str = TARGET,
        sleepable: bool = False,
        attach_program: KernelProgram | None = None,
        btf_fd: Fd | None = None,
        target_id: int = 0,
    ) -> KernelProgram:
        types = self._btf.vmlinux()
        if target and not target_id:
            target_id = types.id_of(target, Func)
        request = LoadRequest(
            name="probe",
            type=ProgType.TRACING,
            insns=insns or _RETURN_0,
            attach_type=attach_type,
            attach_btf_id=target_id,
            attach_program=attach_program,
            sleepable=sleepable,
        )
        return load_program(request, btf_fd)

    def fentry(self) -> None:
        for kind in (AttachType.TRACE_FEXIT, AttachType.TRACE_FENTRY):
            with self._load(kind) as program:
                link_tracing(program, kind).close()

    def fsession(self) -> None:
        kind = AttachType.TRACE_FSESSION
        with self._load(kind) as program:
            link_tracing(program, kind).close()

    def fsession_multi(self) -> None:
        kind = AttachType.TRACE_FSESSION_MULTI
        with self._load(kind, target="") as program:
            link_multi(program, kind, [self._btf.vmlinux().id_of(TARGET, Func)]).close()

    def session_kfuncs(self) -> None:
        types = self._btf.vmlinux()
        for name in ("bpf_session_is_return", "bpf_session_cookie"):
            if len(types.prototype(types.id_of(name, Func)).params) != 1:
                raise UnsupportedError(f"{name} takes no context here: it", "Linux 7.0")

    def sleepable(self) -> None:
        kind = AttachType.TRACE_FENTRY
        refused: Exception | None = None
        for target in SLEEPABLE_TARGETS:
            try:
                with self._load(kind, target=target, sleepable=True) as program:
                    link_tracing(program, kind).close()
                return
            except (VerifierError, NotFoundError) as error:
                refused = refused or error
        if refused:
            raise refused

    def func_args(self) -> None:
        insns = (call_helper(FuncId.get_func_arg_cnt), *_RETURN_0)
        self._load(AttachType.TRACE_FENTRY, *insns).close()

    def attach_cookie(self) -> None:
        kind = AttachType.TRACE_FENTRY
        insns = (call_helper(FuncId.get_attach_cookie), *_RETURN_0)
        with self._load(kind, *insns) as program:
            link_tracing(program, kind, cookie=1).close()

    def atomics(self) -> None:
        insns = (
            st(Size.DW, R10, -8, 0),
            alu(Alu.MOV, R0, imm=0),
            alu(Alu.MOV, R1, imm=1),
            atomic(Atomic.CMPXCHG, Size.DW, R10, R1, -8),
        )
        self._load(AttachType.TRACE_FENTRY, *insns, *_RETURN_0).close()

    def ringbuf(self) -> None:
        create_map(MapSpec("probe", MapType.RINGBUF, 0, 0, 1 << 16), 1).close()

    def task_storage(self) -> None:
        no_prealloc = 1
        types, int_id = _small_btf()
        spec = MapSpec("probe", MapType.TASK_STORAGE, 4, 4, 0, no_prealloc, int_id, int_id)
        fd = _load_types(types)
        try:
            create_map(spec, 1, fd).close()
        finally:
            os.close(fd)

    def bpf_loop(self) -> None:
        self._knows_helper(FuncId.loop)

    def _knows_helper(self, function: FuncId) -> None:
        """A call with arguments that can't be right: refused for them, or as unknown."""
        try:
            self._load(AttachType.TRACE_FENTRY, call_helper(function), *_RETURN_0).close()
        except VerifierError as error:
            if "unknown func" in error.log or "invalid func" in error.log:
                raise

    def kfunc_calls(self) -> None:
        """A kernel function that is no kfunc: refused by name where kfunc calls are known."""
        number = self._btf.vmlinux().id_of(TARGET, Func)
        try:
            self._load(AttachType.TRACE_FENTRY, call_kfunc(number), *_RETURN_0).close()
        except VerifierError as error:
            if "not allowed" not in error.log:
                raise

    def module_btf(self) -> None:
        fd = self._btf.fd("vmlinux")
        self._load(AttachType.TRACE_FENTRY, btf_fd=fd).close()

    def program_targets(self) -> None:
        kind = AttachType.TRACE_FENTRY
        types, _ = _small_btf()
        func = types.id_of("target", Func)
        request = LoadRequest(
            name="target",
            type=ProgType.SOCKET_FILTER,
            insns=_RETURN_0,
            types=types,
            funcs=(FuncInfo(InsnOff(0), func),),
        )
        with (
            load_program(request) as target,
            self._load(kind, target="", target_id=func, attach_program=target) as probe,
        ):
            link_tracing(probe, kind).close()

    def per_cpu_flags(self) -> None:
        with create_map(MapSpec("probe", MapType.PERCPU_ARRAY, 4, 8, 1), 1) as array:
            array.update(bytes(4), bytes(8), flags=UpdateFlag.F_ALL_CPUS)

    def stack_args(self) -> None:
        kind = AttachType.TRACE_FENTRY
        with self._load(kind, target=MANY_ARGUMENTS) as program:
            link_tracing(program, kind).close()

    def common_attr(self) -> None:
        log = Buffer(256)
        attributes = pack("bpf_common_attr", log_buf=log.address, log_size=log.size, log_level=1)
        attr = pack("map_create", map_type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)
        os.close(bpf_common(Cmd.MAP_CREATE, attr, Buffer(attributes), "a log for map creation"))


def _words(error: Exception) -> str:
    """One line. An attach type that the kernel does not know is EINVAL without a word."""
    from fsession.kernel.verifier_log import NO_REASON  # here: only when refused

    if isinstance(error, VerifierError) and error.summary == NO_REASON:
        return f"the kernel does not know the attach type ({errno_name(error.errno)})"
    return str(error).splitlines()[0]


def _small_btf() -> tuple[Types, TypeId]:
    """``int target(void)`` and the id of ``int``, for probes that must bring BTF."""
    from fsession.btf.encode import Builder
    from fsession.btf.types import FuncProto

    builder = Builder()
    int_id = builder.add(Int("int", 4, 32, 1))
    builder.add(Func("target", builder.add(FuncProto(int_id, ())), 1))
    return builder.types(), int_id


def _load_types(types: Types) -> Fd:
    blob = Buffer(types.data)
    return bpf_fd(Cmd.BTF_LOAD, pack("btf_load", btf=blob.address, btf_size=blob.size), "load BTF")


_PROBES: dict[Feature, Callable[[Prober], None]] = {
    Feature.FENTRY: Prober.fentry,
    Feature.FSESSION: Prober.fsession,
    Feature.FSESSION_MULTI: Prober.fsession_multi,
    Feature.SESSION_KFUNCS: Prober.session_kfuncs,
    Feature.SLEEPABLE: Prober.sleepable,
    Feature.FUNC_ARGS: Prober.func_args,
    Feature.ATTACH_COOKIE: Prober.attach_cookie,
    Feature.ATOMICS: Prober.atomics,
    Feature.RINGBUF: Prober.ringbuf,
    Feature.TASK_STORAGE: Prober.task_storage,
    Feature.BPF_LOOP: Prober.bpf_loop,
    Feature.KFUNC_CALLS: Prober.kfunc_calls,
    Feature.MODULE_BTF: Prober.module_btf,
    Feature.PROGRAM_TARGETS: Prober.program_targets,
    Feature.PER_CPU_FLAGS: Prober.per_cpu_flags,
    Feature.STACK_ARGS: Prober.stack_args,
    Feature.COMMON_ATTR: Prober.common_attr,
}
