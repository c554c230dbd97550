"""Functions of the kernel and its modules, by name and by pattern."""

from __future__ import annotations

import re
from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING

from fsession.attach.prototype import Prototypes
from fsession.attach.refusals import Reason, refused_by_name
from fsession.attach.safety import unsafe, why_unsafe
from fsession.attach.target import Found, Refused, Target
from fsession.btf.glob import glob_regex
from fsession.btf.model import Models, TooWide, Variadic
from fsession.btf.types import Func
from fsession.errors import AttachError, NotFoundError
from fsession.resolve import find_function

if TYPE_CHECKING:
    from fsession.attach.pattern import Pattern
    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.host import Host

__all__ = ["function_target", "in_types_of", "match_functions", "modules_of", "what_there_is"]

_SHOWN = 12  # names in a hint
_IN_REGISTERS = 6  # words of arguments that every architecture takes
_MISFITS = {TooWide: Reason.WORDS, Variadic: Reason.VARIADIC}


def match_functions(host: Host, pattern: Pattern, *, exit_side: bool = True) -> Found:
    """Those of vmlinux, or of the modules that `pattern` names, with reasons for the others."""
    targets: list[Target] = []
    refused: list[Refused] = []
    for module in modules_of(host, pattern.module):
        found = _Match(host, module, pattern, exit_side).run()
        targets += found.targets
        refused += found.refused
    return Found(tuple(targets), tuple(refused))


def modules_of(host: Host, module: str) -> list[str]:
    """The loaded modules that a name or pattern stands for; "" is vmlinux."""
    if not any(sign in module for sign in "*?["):
        return [module]
    return [name for name in host.modules() if re.fullmatch(glob_regex(module), name)]


class _Match:
    """One BTF object's functions of a pattern."""

    def __init__(self, host: Host, module: str, pattern: Pattern, exit_side: bool) -> None:
        self._host = host
        self._module = module
        self._pattern = pattern
        self._exit_side = exit_side
        self._types = host.types(module)
        self._slots_of = Models(self._types).slots
        self._targets: list[Target] = []
        self._refused: list[Refused] = []

    def run(self) -> Found:
        places = Counter(self._host.traceable(self._pattern.name, self._module))
        pairs = list(self._types.functions(self._pattern.name))
        types = Counter(map(itemgetter(0), pairs))
        if self._pattern.prototype:
            fits = Prototypes(self._types, self._pattern.prototype).match
            pairs = [pair for pair in pairs if fits(pair[1])]
        avoid = frozenset() if self._module else unsafe(name for name, _ in pairs)
        for name, type_id in pairs:
            at = places[name]
            reason = refused_by_name(name, exit_side=self._exit_side)
            if reason is None and (at != 1 or types[name] != 1 or name in avoid):
                reason = _why_not(at, types[name])
            self._add(name, type_id, reason)
        return Found(tuple(self._targets), tuple(self._refused))

    def _add(self, name: str, type_id: TypeId, reason: Reason | None) -> None:
        label = f"{self._module}:{name}" if self._module else name
        slots = "" if reason else _fit(self._host, self._slots_of(type_id))
        if isinstance(slots, int):
            self._targets.append(Target(label, type_id, slots, self._types, self._module))
        else:
            detail = why_unsafe(name) if reason is Reason.UNSAFE else slots
            self._refused.append(Refused(label, reason or _misfit(slots), detail))


def _why_not(places: int, types: int) -> Reason:
    """Of a name with so many places to trace and types; one of each: the name is to be avoided."""
    if not places:
        return Reason.NOT_TRACEABLE
    return Reason.UNSAFE if places == types == 1 else Reason.AMBIGUOUS


def _fit(host: Host, slots: int | str) -> int | str:
    """`slots`, unless the host's trampolines take fewer."""
    if isinstance(slots, int) and slots > _IN_REGISTERS and slots > host.argument_words:
        return TooWide(f"takes {slots} words of arguments, more than {host.argument_words}")
    return slots


def _misfit(words: str) -> Reason:
    return _MISFITS.get(type(words), Reason.PROTOTYPE)


def function_target(host: Host, name: str, *, exit_side: bool = True) -> Target:
    """The kernel function ``name`` or ``module:name``. Raises `AttachError` with the reason."""
    try:
        found = find_function(host, name)
    except NotFoundError as error:
        raise AttachError(name, str(error)) from error
    wanted_module, _, function = name.rpartition(":")
    if found is None:
        raise AttachError(name, f"not {in_types_of(host)}").hint(
            what_there_is(host, f"fsession list '*{function}*' shows names like it")
        )
    reason = refused_by_name(function, exit_side=exit_side)
    if reason is not None:
        raise AttachError(name, reason)
    module, btf_id = found
    if module and not wanted_module:
        _check_modules(host, name)
    types = host.types(module)
    _check_unique(host, name, types, module)
    slots = _fit(host, Models(types).slots(btf_id))
    if isinstance(slots, str):
        raise AttachError(name, f"it {slots}")
    return Target(name, btf_id, slots, types, module)


def in_types_of(host: Host) -> str:
    """Where its functions are looked for, in words."""
    kernel = host.name == "kernel"
    return "in the kernel's BTF" if kernel else "among the functions that the engine knows"


def what_there_is(host: Host, command: str) -> str:
    """A hint: the command that shows a kernel's functions, the first of the engine's themselves."""
    if host.name == "kernel":
        return command
    names = sorted(set(host.traceable()))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there are: {', '.join(names[:_SHOWN])}{more}"


def _check_modules(host: Host, name: str) -> None:
    """Refuse a bare name that several modules have."""
    owners = [module for module in host.modules() if host.types(module).find_own(name, Func)]
    if len(owners) > 1:
        raise AttachError(name, f"{Reason.AMBIGUOUS}: {', '.join(owners)}").hint(
            f"write it with its module: {owners[0]}:{name}"
        )


def _check_unique(host: Host, name: str, types: Types, module: str) -> None:
    """Refuse a name that means several functions: which one the kernel takes is not ours to say."""
    function = name.rpartition(":")[2]
    symbols = len(list(host.function_symbols(function, module)))
    if symbols > 1 or len(types.find_own(function, Func)) > 1:
        raise AttachError(name, Reason.AMBIGUOUS).hint(
            f"grep -w {function} /proc/kallsyms shows where they are"
        )
    if not symbols and host.name == "kernel":
        raise AttachError(name, Reason.INLINED)
    if not symbols:
        raise AttachError(name, "the engine has no function of this name").hint(
            f"--call '{function}(0)' makes one, as does machine.define(\"{function}\", …)"
        )
