"""What an image of a trampoline is to do, the same on every architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fsession.frozen import frozen

if TYPE_CHECKING:
    from fsession.btf.model import FuncModel

__all__ = ["IS_RETURN", "Node", "Place", "Plan", "Read", "Stub", "places"]

Read = Callable[[int, int], "bytes | None"]
"""The bytes at an address, of so many; None where there is no memory."""

IS_RETURN = 1 << 63
_INDEX_SHIFT = 8


@frozen
class Node:
    """A program on one of the lists.

    `program` is the address of its code, `slot` where a thread's block has its numbers, `enabled`
    the address of a word that becomes 0 when the link is gone. `attach_cookie` is None for a
    program that does not ask for it.
    """

    program: int
    slot: int
    enabled: int
    is_session: bool = False
    uses_cookie: bool = False
    attach_cookie: int | None = None
    uses_ip: bool = False


@frozen
class Stub:
    """Code of a target that stays: counts calls in and out of its images. Offsets in `data`."""

    data: bytes
    leave: int
    to_body: int


@frozen
class Place:
    """Where an argument's slot is: a register by its number, or an offset on the stack."""

    slot: int
    register: int | None
    stack: int
    size: int


@frozen
class Plan:
    """One set of nodes of one target; `leave` and `to_body` are the stub's addresses."""

    model: FuncModel
    target: int
    body: int
    leave: int
    to_body: int
    thread_offset: int
    fentry: tuple[Node, ...] = ()
    fmod_ret: tuple[Node, ...] = ()
    fexit: tuple[Node, ...] = ()
    ip_arg: bool = False
    vectors: bool = True

    @property
    def calls_body(self) -> bool:
        return bool(self.fexit or self.fmod_ret)

    @property
    def has_session(self) -> bool:
        return any(node.is_session for node in self.fentry)

    @property
    def cookies(self) -> int:
        return sum(node.is_session and node.uses_cookie for node in self.fentry)

    def metas(self, nodes: tuple[Node, ...], *, is_return: bool) -> list[int | None]:
        """The func_meta word before each node; None where it is left as it is."""
        index = 1 + self.ip_arg + self.cookies
        out: list[int | None] = []
        for node in nodes:
            if not (node.is_session and node.uses_cookie):
                out.append(None)
                continue
            word = self.model.slots | index << _INDEX_SHIFT
            out.append(word | IS_RETURN if is_return and self.has_session else word)
            index -= 1
        return out


def places(model: FuncModel, registers: tuple[int, ...], *, in_order: bool) -> list[Place]:
    """Where each slot of the arguments comes from. `in_order`: behind the first argument that does
    not fit in registers none is passed in one (arm64)."""
    out: list[Place] = []
    used = stack = 0
    for arg in model.args:
        count = (arg.size + 7) // 8
        fits = used + count <= len(registers)
        for part in range(count):
            size = min(arg.size - 8 * part, 8)
            register = registers[used + part] if fits else None
            out.append(Place(arg.slot + part, register, stack, size))
            stack += 0 if fits else 8
        if fits:
            used += count
        elif in_order:
            used = len(registers)
    return out
