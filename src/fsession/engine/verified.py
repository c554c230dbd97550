"""Nothing runs in a machine that was not verified: what it asks of `fsession.verify`."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fsession.btf.types import TypeId
from fsession.errors import UnsupportedError, VerifierError
from fsession.isa.opcode import Pseudo
from fsession.verify import Subject, verify

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.engine.machine import Machine
    from fsession.host import LoadRequest
    from fsession.spec import MapSpec

__all__ = ["verify_request"]

_MAPS = (Pseudo.MAP_FD, Pseudo.MAP_VALUE)


def verify_request(machine: Machine, request: LoadRequest) -> int:
    """How many instructions were walked. Raises `VerifierError` for a program that is refused, and
    `UnsupportedError` for one that the verifier can't judge: it is not run either."""
    subject = _subject(machine, request)
    report = verify(subject)
    if report.accepted:
        return report.insns
    if not report.judged:
        raise UnsupportedError(f"verification of '{request.name}' ({report.message})")
    report = verify(subject, log_level=1)  # again, for the log: as the kernel is asked
    number = errno.EACCES if report.at >= 0 else errno.EINVAL
    log = report.log or report.message
    lines = tuple(filter(None, (report.source, *report.explanation.splitlines())))
    error = VerifierError(request.name, number, log, report.message.splitlines()[-1], lines)
    raise error.hint(report.advice) if report.advice else error


def _subject(machine: Machine, request: LoadRequest) -> Subject:
    types = machine.types()
    return Subject(
        request.name,
        request.type,
        request.insns,
        request.attach_type,
        maps=_maps(machine, request),
        types=types,
        target=TypeId(request.attach_btf_id) if request.attach_btf_id else None,
        target_types=_target_types(machine, request),
        license=request.license,
        sleepable=request.sleepable,
        own_types=request.types,
        funcs=request.funcs,
        lines=request.lines,
        poison=dict(request.poison),
        any_target=True,
    )


def _maps(machine: Machine, request: LoadRequest) -> dict[int, MapSpec]:
    numbers = {
        insn.imm & 0xFFFF_FFFF for insn in request.insns if insn.is_lddw and insn.src in _MAPS
    }
    return {number: machine.map_of(number).spec for number in numbers}


def _target_types(machine: Machine, request: LoadRequest) -> Types | None:
    if request.attach_program is not None:
        return machine.program_types(request.attach_program)
    return machine.types() if request.attach_btf_id else None
