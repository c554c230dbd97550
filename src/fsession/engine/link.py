"""`EngineLink`: a program attached to targets of the machine."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Self

from fsession.engine.jit.plan import Node
from fsession.engine.memory import Block
from fsession.engine.program import SESSIONS
from fsession.engine.stacks import STACK_CALLS
from fsession.engine.trampoline import FENTRY, FEXIT, FMOD_RET, Attached
from fsession.errors import KernelError
from fsession.uapi import AttachType, LinkType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.engine.program import EngineProgram
    from fsession.engine.trampoline import Trampoline
    from fsession.host import LinkInfo

__all__ = ["KINDS", "MULTI", "EngineLink", "link_type"]

KINDS = {
    AttachType.TRACE_FENTRY: (FENTRY,),
    AttachType.TRACE_FENTRY_MULTI: (FENTRY,),
    AttachType.TRACE_FEXIT: (FEXIT,),
    AttachType.TRACE_FEXIT_MULTI: (FEXIT,),
    AttachType.MODIFY_RETURN: (FMOD_RET,),
    AttachType.TRACE_FSESSION: (FENTRY, FEXIT),
    AttachType.TRACE_FSESSION_MULTI: (FENTRY, FEXIT),
}
"""The lists that a link of this type has a node on: a session has one on the first and the last."""
MULTI = tuple(kind for kind in KINDS if kind.name.endswith("_MULTI"))


class EngineLink:
    """All of its targets, or none: a failure on one takes back the others."""

    def __init__(
        self,
        program: EngineProgram,
        attach_type: AttachType,
        id: int,
        targets: Sequence[tuple[Trampoline, int]],
        info: LinkInfo,
    ) -> None:
        self._program, self._id, self._info = program, id, info
        self._kinds = KINDS[attach_type]
        self._is_session = attach_type in SESSIONS
        self._places: list[tuple[Trampoline, Attached]] = []
        program.users += 1
        try:
            for trampoline, cookie in targets:
                attached = self._attached(cookie)
                trampoline.attach(attached)
                self._places.append((trampoline, attached))
        except BaseException:
            self._take_back()
            raise
        self._open = True

    def _attached(self, cookie: int) -> Attached:
        program, enabled = self._program, Block(8, b"\1")
        node = Node(
            program.entry,
            program.slot,
            enabled.address,
            self._is_session,
            uses_cookie="bpf_session_cookie" in program.calls,
            attach_cookie=cookie if "bpf_get_attach_cookie" in program.calls else None,
            uses_ip=not program.calls.isdisjoint(("bpf_get_func_ip", *STACK_CALLS)),
        )
        return Attached(program.id, self._kinds, node, enabled)

    def _take_back(self) -> None:
        for trampoline, attached in self._places:
            trampoline.detach(attached)
        self._places = []
        self._program.users -= 1
        self._program.release()

    @property
    def id(self) -> int:
        return self._id

    @property
    def fd(self) -> int:
        return self._id

    @property
    def info(self) -> LinkInfo:
        return self._info

    def detach(self) -> None:
        """As the kernel's tracing links: EOPNOTSUPP. Close it instead."""
        raise KernelError("detach link", errno.EOPNOTSUPP)

    def pin(self, path: str) -> None:
        raise KernelError(f"pin as {path}", errno.EOPNOTSUPP)

    def close(self) -> None:
        with self._program.machine.lock:
            if self._open:
                self._open = False
                self._take_back()
                self._program.machine.forget_link(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def link_type(attach_type: AttachType) -> LinkType:
    """What ``bpf_link_info`` calls it."""
    return LinkType.TRACING_MULTI if attach_type in MULTI else LinkType.TRACING
