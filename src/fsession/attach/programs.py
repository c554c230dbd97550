"""BPF programs as targets, and their functions."""

from __future__ import annotations

import errno
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fsession.attach.refusals import Reason
from fsession.attach.target import Found, Refused, Target
from fsession.btf.glob import glob_regex
from fsession.btf.model import func_model
from fsession.errors import AttachError, KernelError, UnsupportedError
from fsession.uapi import ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.attach.pattern import ProgramPattern
    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.host import Host, Program

__all__ = ["match_programs", "program_target"]


def match_programs(host: Host, pattern: ProgramPattern, stack: ExitStack) -> Found:
    """What `pattern` stands for. Programs that targets are of stay open, closed by `stack`.

    A tracing program is left out: sessions can't be on one.
    """
    targets: list[Target] = []
    refused: list[Refused] = []
    for program in _programs(host, pattern):
        with ExitStack() as mine:
            mine.callback(program.close)
            found = _functions(host, program, pattern.function)
            if found.targets:
                stack.push(mine.pop_all())
        targets += found.targets
        refused += found.refused
    return Found(tuple(targets), tuple(refused))


def _programs(host: Host, pattern: ProgramPattern) -> Iterator[Program]:
    """The programs, open, one after the other."""
    if not pattern.is_place_glob:
        yield host.open_program(pattern.place)
        return
    names = re.compile(glob_regex(pattern.place))
    for number in list(host.program_ids()):
        try:
            program = host.open_program(str(number))
        except KernelError as error:
            if error.errno == errno.ENOENT:  # unloaded meanwhile
                continue
            raise
        if names.fullmatch(program.name):
            yield program
        else:
            program.close()


def _functions(host: Host, program: Program, function: str) -> Found:
    label = _label(program)
    if program.type == ProgType.TRACING:
        return _left_out(label, Reason.TRACING)
    if not program.info.btf_id:
        return _left_out(label, Reason.PROGRAM_BTF)
    types = host.program_types(program)
    if not function:
        return _one(program, label, types, _main(host, program, types))
    parts = []
    for type_id in host.program_functions(program):
        name = types.name_of(type_id)
        if re.fullmatch(glob_regex(function), name):
            parts.append(_one(program, f"{label}/{name}", types, type_id))
    targets = tuple(target for part in parts for target in part.targets)
    return Found(targets, tuple(item for part in parts for item in part.refused))


def _left_out(label: str, reason: Reason, detail: str = "") -> Found:
    return Found((), (Refused(label, reason, detail),))


def _one(program: Program, label: str, types: Types, type_id: TypeId) -> Found:
    try:
        slots = _slots(label, types, type_id)
    except AttachError as error:
        return _left_out(label, Reason.PROTOTYPE, error.reason)
    return Found((Target(label, type_id, slots, types, program=program),), ())


def program_target(host: Host, program: Program, function: str = "") -> Target:
    """A loaded BPF program, or one of its functions. It must have been loaded with BTF."""
    name = _label(program) + (f"/{function}" if function else "")
    if not program.info.btf_id:
        raise AttachError(name, Reason.PROGRAM_BTF)
    types = host.program_types(program)
    if not function:
        btf_id = _main(host, program, types)
    else:
        ids = [id for id in host.program_functions(program) if types.name_of(id) == function]
        if not ids:
            raise AttachError(name, f"it has no function '{function}'").hint(
                f"fsession list '{_label(program)}/*' shows those it has"
            )
        btf_id = ids[0]
    return Target(name, btf_id, _slots(name, types, btf_id), types, program=program)


def _main(host: Host, program: Program, types: Types) -> TypeId:
    """The main function: the first of a program."""
    functions = host.program_functions(program)
    if not functions:
        raise AttachError(_label(program), f"its BTF names no function of '{program.name}'")
    return functions[0]


def _label(program: Program) -> str:
    return f"prog:{program.id}"


def _slots(name: str, types: Types, btf_id: TypeId) -> int:
    try:
        return func_model(types, btf_id).slots
    except UnsupportedError as error:
        raise AttachError(name, str(error)) from error
