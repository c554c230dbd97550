"""What BPF_PROG_LOAD checks beside verification."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fsession.btf.model import func_model
from fsession.btf.types import Func, TypeId
from fsession.engine.jit import native
from fsession.engine.link import KINDS, MULTI
from fsession.engine.program import CONTEXT_PROGRAMS
from fsession.errors import KernelError
from fsession.uapi import ProgType

if TYPE_CHECKING:
    from fsession.engine.machine import Machine
    from fsession.host import LoadRequest

__all__ = ["check_load"]


def check_load(machine: Machine, request: LoadRequest) -> None:
    what = f"load program '{request.name}'"
    if native() is None:
        raise KernelError(what, errno.EOPNOTSUPP).hint(
            "there is no machine code for this architecture"
        )
    if request.type is not ProgType.TRACING and request.type not in CONTEXT_PROGRAMS:
        raise KernelError(what, errno.EOPNOTSUPP).hint(
            f"the engine runs tracing programs, not {request.type.name}"
        )
    if request.type is not ProgType.TRACING:
        return
    if request.attach_type not in KINDS:
        raise KernelError(what, errno.EOPNOTSUPP)
    if request.attach_type not in MULTI:
        _check_target(machine, request, what)


def _check_target(machine: Machine, request: LoadRequest, what: str) -> None:
    """It exists and can be attached to: btf_distill_func_proto, and its address."""
    owner = request.attach_program
    types = machine.types() if owner is None else machine.program_types(owner)
    if not 0 < request.attach_btf_id < len(types):
        raise KernelError(what, errno.EINVAL)
    if types.kind_of(TypeId(request.attach_btf_id)) is not Func:
        raise KernelError(what, errno.EINVAL)
    if owner is None:
        machine.world.check_target(request.attach_btf_id, what)
    func_model(types, TypeId(request.attach_btf_id))
