"""What is verified: a program whose relocations are resolved, with all that its rules depend on."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from fsession.btf.types import Ptr
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fsession.btf.catalog import Types
    from fsession.btf.types import FuncProto, TypeId
    from fsession.isa.insn import Insn
    from fsession.spec import FuncInfo, LineInfo, MapSpec
    from fsession.uapi import AttachType, ProgType

__all__ = ["Subject"]


@frozen
class Subject:
    """A program as it would be given to the kernel.

    `insns` name maps by numbers, the keys of `maps`, and kfuncs and variables by ids of `types`
    (kfuncs of modules: of ``modules[insn.off]``). `target` is the function it is for, an id of
    `target_types`. `lines`, `funcs` and `own_types` are the program's own BTF. `poison` says of
    places what is missing for them. `any_target`: functions of one's own, all of which may be
    changed and slept on.
    """

    name: str
    type: ProgType
    insns: tuple[Insn, ...]
    attach_type: AttachType | None = None
    maps: Mapping[int, MapSpec] = field(default_factory=dict)
    types: Types | None = field(default=None, compare=False, repr=False)
    modules: Mapping[int, Types] = field(default_factory=dict)
    target: TypeId | None = None
    target_types: Types | None = field(default=None, compare=False, repr=False)
    license: str = "GPL"
    sleepable: bool = False
    own_types: Types | None = field(default=None, compare=False, repr=False)
    funcs: tuple[FuncInfo, ...] = ()
    lines: tuple[LineInfo, ...] = ()
    poison: Mapping[int, str] = field(default_factory=dict)
    any_target: bool = False

    @property
    def prototype(self) -> FuncProto | None:
        """The target's; of a tracepoint that of its ``btf_trace_`` type."""
        types = self.target_types
        if types is None or self.target is None:
            return None
        id = types.strip(self.target)
        if types.kind_of(id) is Ptr:
            id = types.strip(types.ref(id))
        return types.prototype(id)

    @property
    def target_name(self) -> str:
        """As messages have it."""
        if self.target_types is None or self.target is None:
            return ""
        return self.target_types.name_of(self.target).removeprefix("btf_trace_")

    @property
    def is_gpl(self) -> bool:
        """Licenses that the kernel counts as compatible (include/linux/license.h)."""
        return self.license in _GPL


_GPL = (
    "GPL",
    "GPL v2",
    "GPL and additional rights",
    "Dual BSD/GPL",
    "Dual MIT/GPL",
    "Dual MPL/GPL",
)
