"""What a user names to what the kernel attaches to.

A name is a function (``icmp_rcv``), one of a module (``nf_conntrack:nf_ct_get``), a pattern of
either with ``*``, ``?`` and ``[…]``, or a loaded BPF program: ``prog:NAME``, ``prog:ID``,
``prog:/sys/fs/bpf/PIN``, each with ``/FUNCTION`` behind it for one of its functions.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from fsession.attach.refusals import Reason, refused_by_name
from fsession.attach.safety import unsafe
from fsession.btf.model import Models, func_model
from fsession.btf.types import Func
from fsession.errors import AttachError, NotFoundError, UnsupportedError
from fsession.frozen import frozen
from fsession.resolve import find_function

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.host import Host, Program

__all__ = [
    "Found",
    "Refused",
    "Target",
    "find_targets",
    "function_target",
    "is_pattern",
    "program_target",
]

PROGRAM_PREFIX = "prog:"


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


def is_pattern(name: str) -> bool:
    """Whether `name` may stand for several functions."""
    return not name.startswith(PROGRAM_PREFIX) and any(sign in name for sign in "*?[")


def find_targets(host: Host, names: Sequence[str], *, exit_side: bool = True) -> Found:
    """The functions that `names` stand for, each once, in the order of the names.

    A name in full that can't be attached to raises `AttachError`; one that a pattern gives is left
    out, with its reason. A pattern that gives nothing to attach to raises as well. `exit_side`:
    they are to be traced at their exit, too.
    """
    targets: dict[tuple[str, str], Target] = {}
    refused: list[Refused] = []
    with ExitStack() as stack:
        for name in names:
            if not is_pattern(name):
                target = _named(host, name, exit_side, stack)
                if targets.setdefault((target.module, target.name), target) is not target:
                    _close(target)
                continue
            found = _match(host, name, exit_side)
            if not found.targets:
                raise _nothing(name, found)
            targets |= {(item.module, item.name): item for item in found.targets}
            refused += found.refused
        stack.pop_all()
    return Found(tuple(targets.values()), tuple(refused))


def _named(host: Host, name: str, exit_side: bool, stack: ExitStack) -> Target:
    """A function, or a program, which is opened and closed by `stack`."""
    if not name.startswith(PROGRAM_PREFIX):
        return function_target(host, name, exit_side=exit_side)
    place, function = _program_place(name)
    program = stack.enter_context(host.open_program(place))
    return program_target(host, program, function)


def _close(target: Target) -> None:
    if target.program is not None:
        target.program.close()


def _program_place(name: str) -> tuple[str, str]:
    """``(program, function)`` of ``prog:PLACE[/FUNCTION]``; a pin is a path of its own."""
    place = name.removeprefix(PROGRAM_PREFIX)
    if not place.startswith("/"):
        program, _, function = place.partition("/")
        return program, function
    folder, _, last = place.rpartition("/")
    if folder.count("/") >= 4:  # /sys/fs/bpf/PIN/FUNCTION
        return folder, last
    return place, ""


def _match(host: Host, pattern: str, exit_side: bool) -> Found:
    """Functions of vmlinux, or with ``module:`` of that module, whose names match."""
    module, _, glob = pattern.rpartition(":")
    types = host.types(module)
    pairs = list(types.functions(glob))
    places = Counter(name for name, place in host.traceable(glob) if place == module)
    names = Counter(map(itemgetter(0), pairs))
    avoid = frozenset() if module else unsafe(names)
    slots_of = Models(types).slots
    prefix = f"{module}:" if module else ""
    targets: list[Target] = []
    refused: list[Refused] = []
    for name, type_id in pairs:
        if places[name] == names[name] == 1 and name not in avoid:
            reason = refused_by_name(name, exit_side=exit_side)
            slots = "" if reason else slots_of(type_id)
        else:
            reason = refused_by_name(name, exit_side=exit_side)
            reason, slots = reason or _why_not(places[name], names[name]), ""
        if isinstance(slots, int):
            targets.append(Target(prefix + name, type_id, slots, types, module))
        else:
            refused.append(Refused(prefix + name, reason or Reason.PROTOTYPE, slots))
    return Found(tuple(targets), tuple(refused))


def _why_not(places: int, types: int) -> Reason:
    """Of a name with so many places to trace and types; one of each: the name is to be avoided."""
    if not places:
        return Reason.NOT_TRACEABLE
    return Reason.UNSAFE if places == types == 1 else Reason.AMBIGUOUS


def _nothing(pattern: str, found: Found) -> AttachError:
    if not found.refused:
        return _with_hint(AttachError(pattern, "no function of the kernel's BTF matches"))
    reasons = ", ".join(f"{count} {reason}" for reason, count in found.counts().items())
    return _with_hint(AttachError(pattern, f"every function that matches is left out: {reasons}"))


def _with_hint(error: AttachError) -> AttachError:
    error.add_note(f"fsession list '{error.target}' shows each with its reason")
    return error


def function_target(host: Host, name: str, *, exit_side: bool = True) -> Target:
    """The kernel function ``name`` or ``module:name``. Raises `AttachError` with the reason."""
    try:
        found = find_function(host, name)
    except NotFoundError as error:
        raise AttachError(name, str(error)) from error
    function = name.rpartition(":")[2]
    if found is None:
        raise AttachError(name, Reason.NO_BTF).hint(
            f"fsession list '*{function}*' shows names like it"
        )
    reason = refused_by_name(function, exit_side=exit_side)
    if reason is not None:
        raise AttachError(name, reason)
    module, btf_id = found
    types = host.types(module)
    return Target(name, btf_id, _slots(name, types, btf_id), types, module)


def program_target(host: Host, program: Program, function: str = "") -> Target:
    """A loaded BPF program, or one of its functions. It must have been loaded with BTF."""
    name = f"{PROGRAM_PREFIX}{program.id}" + (f"/{function}" if function else "")
    if not program.info.btf_id:
        raise AttachError(name, "the program was loaded without BTF")
    types = host.program_types(program)
    wanted = function or program.name
    btf_id = types.find(wanted, Func)
    if btf_id is None:
        near = [item for item, _ in types.functions() if item.startswith(wanted)]
        if function or len(near) != 1:  # the kernel's name of a program is cut to 15 bytes
            raise AttachError(name, f"its BTF has no function '{wanted}'")
        btf_id = types.id_of(near[0], Func)
    return Target(name, btf_id, _slots(name, types, btf_id), types, program=program)


def _slots(name: str, types: Types, btf_id: TypeId) -> int:
    try:
        return func_model(types, btf_id).slots
    except UnsupportedError as error:
        raise AttachError(name, str(error)) from error
