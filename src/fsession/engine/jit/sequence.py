"""The parts of an image in their order, the same on every architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fsession.engine.jit.plan import IS_RETURN

if TYPE_CHECKING:
    from fsession.engine.jit.code import Buffer
    from fsession.engine.jit.plan import Node, Plan

__all__ = ["Late", "Parts", "build"]

Late = list[tuple[object, bytes, object]]
"""What is rare stands behind everything else: its label, its code, where it goes on."""


class Parts(Protocol):
    """What an architecture makes; `jump` goes to a label."""

    jump: bytes
    late: Late

    def enter(self) -> None: ...
    def set_meta(self, word: int) -> None: ...

    def run(self, node: Node, after: bytes = b"") -> None:
        """Run a program unless its link is gone or this thread is running it already; `after` is
        done with its result."""

    def modify(self) -> None:
        """fmod_ret: the first result that is not 0 is the function's, which is then not called."""

    def call_body(self) -> None: ...
    def load_results(self) -> None: ...
    def load_arguments(self) -> None: ...
    def leave(self, goal: int) -> None: ...


def build(plan: Plan, code: Buffer, parts: Parts) -> bytes:
    parts.enter()
    _run(parts, plan.fentry, plan.metas(plan.fentry, is_return=False))
    if plan.calls_body:
        if plan.fmod_ret:
            parts.modify()
        parts.call_body()
        code.label("after")
        if plan.has_session:
            parts.set_meta(plan.model.slots | IS_RETURN)
        _run(parts, plan.fexit, plan.metas(plan.fexit, is_return=True))
        parts.load_results()
    else:
        parts.load_arguments()
    parts.leave(plan.leave if plan.calls_body else plan.to_body)
    for label, data, back in parts.late:
        code.label(label)
        code.emit(data)
        code.emit_to(back, parts.jump)
    return code.finish()


def _run(parts: Parts, nodes: tuple[Node, ...], metas: list[int | None]) -> None:
    for node, meta in zip(nodes, metas, strict=True):
        if meta is not None:
            parts.set_meta(meta)
        parts.run(node)
