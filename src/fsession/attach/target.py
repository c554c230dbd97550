"""A function to attach to, one that is left out, and what patterns gave of both."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from fsession.frozen import frozen

if TYPE_CHECKING:
    from fsession.attach.refusals import Reason
    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.host import Program

__all__ = ["Found", "Refused", "Target"]


class Target(NamedTuple):
    """A function to attach to. `slots` is how many words its arguments take.

    `btf_id` is an id in the BTF of vmlinux, of `module`, or of `program`; `types` is that BTF.
    """

    name: str
    btf_id: TypeId
    slots: int
    types: Types
    module: str = ""
    program: Program | None = None

    @property
    def function(self) -> str:
        """The function's own name, without that of a module."""
        return self.name.rpartition(":")[2]


@frozen
class Refused:
    """A function that is left out, with the reason and, where there is more to say, details."""

    name: str
    reason: Reason
    detail: str = ""


@frozen
class Found:
    """What patterns gave: functions to attach to, and those left out.

    BPF programs that were named are open, for loading what is to be attached to them: whoever
    asked closes them.
    """

    targets: tuple[Target, ...]
    refused: tuple[Refused, ...]

    def counts(self) -> Counter[Reason]:
        """How many were left out, by reason."""
        return Counter(item.reason for item in self.refused)
