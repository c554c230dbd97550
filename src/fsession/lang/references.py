"""What the verifier asks of references and RCU sections, told in the program's own lines.

A call that acquires (`bpf_task_from_pid`, `RingBuf.reserve`) gives a reference that must be
released, once, on every path where it is not None; a section that is entered must be left. The
states a reference may have are followed through the blocks: held, gone.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NoReturn

from fsession.calls import HELPERS, find_kfunc
from fsession.lang.ir import (
    Binary,
    BinaryOp,
    Branch,
    Call,
    Compare,
    Const,
    Extend,
    Helper,
    Jump,
    Kfunc,
    Load,
    Local,
    Return,
    Store,
    Test,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.lang.ir import Function, Label, Op, Place, Value

__all__ = ["check_references"]

SECTIONS = {
    "bpf_rcu_read_lock": "bpf_rcu_read_unlock",
    "bpf_preempt_disable": "bpf_preempt_enable",
}
_LEAVES = {leave: enter for enter, leave in SECTIONS.items()}


class _State(Enum):
    HELD = auto()
    GONE = auto()


States = dict[object, frozenset[_State]]
"""Of references, by the value that the call gave, and sections, by the call that enters."""


def check_references(
    function: Function, fail: Callable[[Place | None, str, str], NoReturn]
) -> None:
    """``fail(place, message, hint)`` raises what is wrong. Before any pass: blocks are as built."""
    calls = [op for block in function.blocks.values() for op in block.ops if isinstance(op, Call)]
    if any(_matters(op) for op in calls):
        _Checker(function, fail).run()


def _matters(op: Call) -> bool:
    name = _name(op)
    return _acquires(op) or _release(op) is not None or name in SECTIONS or name in _LEAVES


def _name(op: Call) -> str:
    return "" if isinstance(op.target, Local) else op.target.name


def _acquires(op: Call) -> bool:
    match op.target:
        case Helper(name=name):
            row = HELPERS.get(name)
            return row is not None and row.acquires and name != "ringbuf_reserve_dynptr"
        case Kfunc(name=name):
            found = find_kfunc(name)
            return found is not None and found.acquires
    return False


def _release(op: Call) -> int | None:
    """The index of the argument that is released."""
    match op.target:
        case Helper(name=name):
            row = HELPERS.get(name)
            at = None if row is None else row.releases
            return None if row is None or at is None or row.args[at].type else at
        case Kfunc(name=name):
            found = find_kfunc(name)
            return None if found is None or name.endswith("dynptr_file_discard") else found.releases
    return None


class _Checker:
    def __init__(
        self, function: Function, fail: Callable[[Place | None, str, str], NoReturn]
    ) -> None:
        self.function, self.fail = function, fail
        self.made: dict[Value, Op] = {}
        self.incoming: dict[Value, list[Value]] = {}
        for block in function.blocks.values():
            for op in block.ops:
                if op.dst is not None:
                    self.made[op.dst] = op
            if isinstance(block.end, Jump):
                params = function.blocks[block.end.target].params
                for param, arg in zip(params, block.end.args, strict=True):
                    self.incoming.setdefault(param, []).append(arg)

    def run(self) -> None:
        """To the fixed point of the states at the head of each block."""
        entry = next(iter(self.function.blocks))
        heads: dict[Label, States] = {entry: {}}
        work = [entry]
        while work:
            label = work.pop()
            for target, states in self._through(label, dict(heads[label])):
                known = heads.get(target)
                merged = states if known is None else _merged(known, states)
                if merged != known:
                    heads[target] = merged
                    work.append(target)

    def _root(self, value: Value, seen: frozenset[Value] = frozenset()) -> Value | None:
        """The reference that a value is, through the parameters of blocks."""
        op = self.made.get(value)
        if isinstance(op, Call) and _acquires(op):
            return value
        if value in seen or value not in self.incoming:
            return None
        roots = {
            self._root(arg, seen | {value}) for arg in self.incoming[value] if arg != value
        } - {None}
        return roots.pop() if len(roots) == 1 else None

    def _through(self, label: Label, states: States) -> list[tuple[Label, States]]:
        block = self.function.blocks[label]
        for op in block.ops:
            self._op(op, states)
        match block.end:
            case Jump(target=target):
                return [(target, states)]
            case Branch(test=test, args=(a, b), then=then, other=other) as end:
                yes, no = dict(states), dict(states)
                if isinstance(self.made.get(b), Const) and self._is_zero(b) and end.bits == 64:
                    for branch, truth in ((yes, test is Test.NE), (no, test is Test.EQ)):
                        if test in (Test.EQ, Test.NE):
                            for root in self._none_if(a, truth):
                                branch.pop(root, None)
                return [(then, yes), (other, no)]
            case Return(at=at):
                self._leave(states, at)
        return []

    def _is_zero(self, value: Value) -> bool:
        op = self.made.get(value)
        return isinstance(op, Const) and op.value == 0

    def _none_if(self, value: Value, truth: bool) -> set[Value]:
        """References that are None where `value` is not 0 (`truth`), or where it is."""
        op = self.made.get(value)
        match op:
            case Compare(test=Test.EQ | Test.NE as test, args=(a, b)) if self._is_zero(b):
                return self._none_if(a, truth == (test is Test.NE))
            case Binary(op=BinaryOp.AND | BinaryOp.OR as how, args=(a, b)):
                left, right = self._none_if(a, truth), self._none_if(b, truth)
                both = truth == (how is BinaryOp.AND)
                return left | right if both else left & right
            case Extend(args=(a,)):
                return self._none_if(a, truth)
        root = self._root(value)
        return set() if root is None or truth else {root}

    # -- operations ------------------------------------------------------------------------------

    def _op(self, op: Op, states: States) -> None:
        if not isinstance(op, Call):
            if isinstance(op, Load | Store):
                self._used(op.args[0], states, op.at)
            return
        name, released = _name(op), _release(op)
        if name in SECTIONS:
            states[name] = frozenset({_State.HELD})
        elif name in _LEAVES:
            self._leave_section(name, states, op.at)
        elif isinstance(op.target, Local):
            for arg in op.args:
                states.pop(self._root(arg), None)
        else:
            for at, arg in enumerate(op.args):
                if at != released:
                    self._used(arg, states, op.at)
            self._check_sleep(op, states)
        if released is not None:
            self._released(op, op.args[released], states)
        if _acquires(op):
            if _State.HELD in states.get(op.dst, ()):
                self._not_released(op.dst, op.at)
            states[op.dst] = frozenset({_State.HELD})

    def _used(self, value: Value, states: States, at: Place | None) -> None:
        root = self._root(value)
        if root is not None and _State.GONE in states.get(root, ()):
            self.fail(at, "this was released before", "release it last")

    def _released(self, op: Call, value: Value, states: States) -> None:
        root = self._root(value)
        if root is None:
            if isinstance(self.made.get(value), Load | Call) or value in self.function.params:
                hint = "only what a call acquired is released: bpf_task_from_pid(), reserve(), …"
                self.fail(op.at, f"{_name(op)}() of what was not acquired", hint)
            return
        if _State.GONE in states.get(root, ()):
            self.fail(op.at, "this was released before", "once, on every path")
        states[root] = frozenset({_State.GONE})

    def _leave_section(self, name: str, states: States, at: Place | None) -> None:
        enter = _LEAVES[name]
        if states.get(enter, frozenset({_State.GONE})) != {_State.HELD}:
            self.fail(at, f"{name}() where {enter}() was not called", "they come in pairs")
        states.pop(enter)

    def _check_sleep(self, op: Call, states: States) -> None:
        row = find_kfunc(_name(op)) if isinstance(op.target, Kfunc) else HELPERS.get(_name(op))
        if row is not None and row.sleeps:
            for enter in SECTIONS:
                if _State.HELD in states.get(enter, ()):
                    message = f"{_name(op)}() may sleep, which is forbidden behind {enter}()"
                    self.fail(op.at, message, f"call {SECTIONS[enter]}() first")

    def _leave(self, states: States, at: Place | None) -> None:
        for key, state in states.items():
            if _State.HELD not in state:
                continue
            if isinstance(key, str):
                hint = f"call {SECTIONS[key]}() before each 'return'"
                self.fail(at, f"the program ends here behind {key}()", hint)
            self._not_released(key, at)  # type: ignore[arg-type]

    def _not_released(self, root: Value, at: Place | None) -> None:
        op = self.made[root]
        assert isinstance(op, Call)
        line = f" of line {op.at.line}" if op.at is not None else ""
        message = f"what {_name(op)}(){line} gave is not released on this path"
        how = _RELEASES.get(_name(op), "")
        self.fail(at, message, f"release it before the end: {how}".removesuffix(": "))


def _merged(a: States, b: States) -> States:
    """What may be where two ways meet; a section that only one of them is in may be left."""
    merged: States = {}
    for key in a.keys() | b.keys():
        missing = frozenset({_State.GONE}) if isinstance(key, str) else frozenset[_State]()
        merged[key] = a.get(key, missing) | b.get(key, missing)
    return merged


_RELEASES = {
    "bpf_task_from_pid": "fsession.bpf_task_release(task)",
    "bpf_task_from_vpid": "fsession.bpf_task_release(task)",
    "bpf_task_acquire": "fsession.bpf_task_release(task)",
    "bpf_cgroup_from_id": "fsession.bpf_cgroup_release(cgroup)",
    "bpf_cgroup_acquire": "fsession.bpf_cgroup_release(cgroup)",
    "bpf_cpumask_create": "fsession.bpf_cpumask_release(mask)",
    "ringbuf_reserve": "submit() or discard()",
}
