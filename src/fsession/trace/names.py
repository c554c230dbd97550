"""The names of `fsession.trace.scope` as values, in a program under construction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Func
from fsession.errors import BadInputError
from fsession.lang.access import Place, Trust, Typed
from fsession.lang.cexpr import CExpression, Shown
from fsession.lang.ctypes import CHAR, U32, U64, Array, Integer, Pointer, Record
from fsession.lang.ir import BinaryOp, Label, Space, Value
from fsession.trace.scope import ALWAYS
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.lang.build import Builder
    from fsession.trace.scope import Parameter, Scope

    Variable = Callable[[], Typed | Place | Shown]

__all__ = ["COMM_TYPE", "Names", "result_word", "word"]

COMM_TYPE = Array(CHAR, 16)
_WORD_BYTES = 8

_NETNS = {
    "net": "{0}->ns.inum",
    "net_device": "{0}->nd_net.net->ns.inum",
    "sock": "{0}->__sk_common.skc_net.net->ns.inum",
    "socket": "{0}->sk->__sk_common.skc_net.net->ns.inum",
    "sk_buff": "{0}->dev ? {0}->dev->nd_net.net->ns.inum"
    " : {0}->sk->__sk_common.skc_net.net->ns.inum",
    "task_struct": "{0}->nsproxy->net_ns->ns.inum",
}
"""From a pointer to a struct to the inode of its network namespace (``struct ns_common``)."""


class Names:
    """Of one function's program; each use of a name computes its value again."""

    def __init__(
        self,
        scope: Scope,
        build: Builder,
        context: Value,
        duration: Callable[[], Value] | None,
    ) -> None:
        self._scope = scope
        self._build = build
        self._context = context
        self._duration = duration

    def variables(self, on_fault: Label | None) -> dict[str, Variable]:
        """By name; what can't be read goes on at `on_fault`."""
        scope, build = self._scope, self._build
        found: dict[str, Variable] = {
            "duration": self._duration_ns,
            "comm": self._comm,
            "pid": lambda: self._half(BinaryOp.LSHR),
            "tid": lambda: self._half(BinaryOp.AND),
            "cpu": lambda: Typed(U32, build.helper(FuncId.get_smp_processor_id, pure=True)),
            "cgroup": lambda: Typed(U64, build.helper(FuncId.get_current_cgroup_id, pure=True)),
            "current": self._current,
            "netns": lambda: self._netns(on_fault),
            "kstack": lambda: Shown("kstack", Typed(U64, build.const(0))),
            "ustack": lambda: Shown("ustack", Typed(U64, build.const(0))),
        }
        if scope.result is not None:
            found["ret"] = self._result
        always = {ALWAYS + name: variable for name, variable in found.items()}
        arguments = {name: self._argument(param) for name, param in scope.params.items()}
        return found | arguments | always

    def _argument(self, param: Parameter) -> Variable:
        return lambda: self._value(param)

    def _value(self, param: Parameter) -> Typed | Place:
        build, type = self._build, param.type
        if not isinstance(type, Integer | Pointer):
            return self._struct(param)
        value = word(build, self._context, param.slot, direct=param.direct)
        return self._typed(type, value, direct=param.direct)

    def _typed(self, type: Integer | Pointer, value: Value, *, direct: bool) -> Typed:
        if isinstance(type, Integer):
            return Typed(type, self._build.extend(value, 8 * type.size, signed=type.signed))
        if type.tag == "user":
            return Typed(type, value, Trust.USER)
        if not isinstance(type.to, Record):
            return Typed(type, value)
        if direct:
            return Typed(type, value, Trust.KERNEL)
        return self._upgraded(type, type.to, value)

    def _upgraded(self, type: Pointer, record: Record, value: Value) -> Typed:
        """With its type for the verifier, where the kernel can do that (Linux 6.2)."""
        types = self._scope.catalog.types
        if types.base is not None or types.find("bpf_rdonly_cast", Func) is None:
            return Typed(type, value)
        build = self._build
        cast = build.kfunc("bpf_rdonly_cast", value, build.const(record.id), pure=True)
        return Typed(type, cast, Trust.KERNEL)

    def _struct(self, param: Parameter) -> Place:
        """A struct by value, on the program's stack."""
        build = self._build
        slot = build.slot(_WORD_BYTES * max(1, param.slots))
        for at in range(param.slots):
            part = word(build, self._context, param.slot + at, direct=param.direct)
            build.store(slot, _WORD_BYTES * at, part, _WORD_BYTES, Space.STACK)
        return Place(param.type, slot, 0, Trust.MEMORY)

    def _result(self) -> Typed:
        result = self._scope.result
        assert result is not None
        if not isinstance(result.type, Integer | Pointer):
            raise BadInputError(f"the result is {result.type}, which has no value here")
        value = result_word(self._build, self._context, result)
        return self._typed(result.type, value, direct=result.direct)

    def _duration_ns(self) -> Typed:
        if self._duration is None:
            raise BadInputError("the duration is not known before the exit")
        return Typed(U64, self._duration())

    def _comm(self) -> Place:
        build = self._build
        slot = build.slot(COMM_TYPE.size)
        for at in range(0, COMM_TYPE.size, 8):
            build.store(slot, at, build.const(0), 8, Space.STACK)
        build.helper(FuncId.get_current_comm, slot, build.const(COMM_TYPE.size))
        return Place(COMM_TYPE, slot, 0, Trust.MEMORY)

    def _half(self, op: BinaryOp) -> Typed:
        build = self._build
        both = build.helper(FuncId.get_current_pid_tgid, pure=True)
        operand = build.const(32 if op is BinaryOp.LSHR else 0xFFFF_FFFF)
        return Typed(U32, build.binary(op, both, operand))

    def _current(self) -> Typed:
        record = self._scope.catalog.find("struct task_struct")
        if record is None:
            raise BadInputError("the types here have no struct task_struct")
        task = self._build.helper(FuncId.get_current_task_btf, pure=True)
        return Typed(Pointer(record), task, Trust.KERNEL)

    def _netns(self, on_fault: Label | None) -> Typed:
        owner, path = f"{ALWAYS}current", _NETNS["task_struct"]
        for name, param in self._scope.params.items():
            to = param.type.to if isinstance(param.type, Pointer) else None
            if isinstance(to, Record) and to.name in _NETNS and to.name != "task_struct":
                owner, path = name, _NETNS[to.name]
                break
        inner = CExpression(self._scope.catalog, self._build, self.variables(on_fault), on_fault)
        found = inner.compile(path.format(owner))
        assert not isinstance(found, Shown)
        return inner.value(found, None)


def word(build: Builder, context: Value, slot: int, *, direct: bool) -> Value:
    """An argument word of the traced function; not `direct`: by ``bpf_get_func_arg``."""
    if direct:
        return build.load(context, _WORD_BYTES * slot, _WORD_BYTES, Space.CTX)
    at = build.slot(_WORD_BYTES)
    build.store(at, 0, build.const(0), _WORD_BYTES, Space.STACK)
    build.helper(FuncId.get_func_arg, context, build.const(slot), at)
    return build.load(at, 0, _WORD_BYTES, Space.STACK)


def result_word(build: Builder, context: Value, result: Parameter) -> Value:
    """The result; not `direct`: by ``bpf_get_func_ret``."""
    if result.direct:
        return build.load(context, _WORD_BYTES * result.slot, _WORD_BYTES, Space.CTX)
    at = build.slot(_WORD_BYTES)
    build.store(at, 0, build.const(0), _WORD_BYTES, Space.STACK)
    build.helper(FuncId.get_func_ret, context, at)
    return build.load(at, 0, _WORD_BYTES, Space.STACK)
