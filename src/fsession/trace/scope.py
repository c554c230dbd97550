"""What expressions on a traced function can name, and what they need of it.

Arguments by their names, with their types of BTF; and, unless an argument has that name:

============  =====================================================================
``ret``       what the function returned
``duration``  of the call, in ns
``comm``      the name of the thread; ``pid`` its process, ``tid`` itself
``cpu``       the CPU; ``cgroup`` the id of the thread's cgroup (v2)
``netns``     the network namespace's inode: of the first argument with one, else the thread's
``current``   ``struct task_struct *`` of the thread
``kstack``    the kernel's stack; ``ustack`` the process's
============  =====================================================================

An expression that uses ``ret`` or ``duration`` belongs to the exit; what it finds behind pointers
is what is there then.
"""

from __future__ import annotations

import re
from dataclasses import field
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from fsession.frozen import frozen
from fsession.lang.build import Builder
from fsession.lang.cexpr import CExpression
from fsession.lang.ctypes import PROGRAM_CONTEXTS, CType, Opaque, Pointer, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fsession.lang.ctypes import Catalog
    from fsession.trace.signature import Signature

__all__ = ["ALWAYS", "AT_EXIT", "NAMES", "Parameter", "Scope"]

_WORD = re.compile(r"[A-Za-z_]\w*")
AT_EXIT = frozenset({"ret", "duration"})
NAMES = (
    "ret", "duration", "comm", "pid", "tid", "cpu", "cgroup", "netns", "current", "kstack",
    "ustack",
)  # fmt: skip

ALWAYS = "__"
"""In front of a name of `NAMES`: that one, even where an argument has the name."""

_ALWAYS = frozenset(ALWAYS + name for name in NAMES)


@frozen
class Parameter:
    """An argument, or the result, in `slots` words from word `slot` on.

    `direct`: the program's context gives it, typed; else a helper does, as a number.
    """

    type: CType
    slot: int
    slots: int
    direct: bool


@frozen
class Scope:
    """Of one function; those with equal keys for some expressions can share a program.

    `direct`: the program is verified against this function; else against one without arguments.
    """

    catalog: Catalog = field(compare=False, repr=False)
    params: dict[str, Parameter]
    result: Parameter | None

    @classmethod
    def of(
        cls, catalog: Catalog, function: Signature, *, direct: bool = True, is_program: bool = False
    ) -> Scope:
        """`catalog` is of the function's types. `is_program`: it is one of BPF."""
        params = {
            param.name: Parameter(
                _known(catalog.of(param.type), is_program=is_program),
                param.slot,
                param.slots,
                direct and param.direct and not is_program,
            )
            for param in function.params
        }
        result = None
        if function.result:
            slots = sum(param.slots for param in function.params)
            type = _known(catalog.of(function.result), is_program=is_program)
            result = Parameter(type, slots, 1, direct and function.direct_result)
        return cls(catalog, params, result)

    @property
    def names(self) -> tuple[str, ...]:
        """All that an expression can name, but for enumerators."""
        builtin = NAMES if self.result else NAMES[1:]
        return (*self.params, *(name for name in builtin if name not in self.params))

    @property
    def pointers(self) -> list[str]:
        """The arguments that point to structs."""
        return [
            name
            for name, param in self.params.items()
            if isinstance(param.type, Pointer) and isinstance(param.type.to, Record)
        ]

    def used(self, source: str) -> frozenset[str]:
        """The names in an expression. Raises `CompileError` for what is none."""
        words = frozenset(_WORD.findall(source))
        return _used(self.catalog, source, words.intersection(self.params).union(NAMES, _ALWAYS))

    def is_at_exit(self, source: str) -> bool:
        """Whether an expression can be computed at the exit only."""
        return bool(self.used(source) & AT_EXIT - self.params.keys())

    def missing(self, sources: Iterable[str]) -> str:
        """A name in the expressions that this function does not have, or ""."""
        known = set(self.names)
        for source in sources:
            for name in sorted(self.used(source) - known - _ALWAYS):
                if self.catalog.enumerator(name) is None:
                    return name
        return ""

    def key(self, sources: Iterable[str]) -> object:
        """Equal for functions for which the expressions are the same program."""
        names = sorted(frozenset().union(*map(self.used, sources)))
        used = [(name, self.params.get(name)) for name in names]
        owners = tuple(self.params.items()) if "netns" in names else ()
        return tuple(used), self.result if "ret" in names else None, owners


@lru_cache(maxsize=256)
def _used(catalog: Catalog, source: str, names: frozenset[str]) -> frozenset[str]:
    """Thousands of functions have the same names in the same places: read once for all."""
    return CExpression(catalog, Builder("names", 1), dict.fromkeys(names, _nothing)).names(source)


def _nothing() -> NoReturn:
    raise AssertionError("names are looked at, not used")


def _known(type: CType, *, is_program: bool) -> CType:
    """Without the layout of a BPF program's context, which is not the one in memory."""
    to = type.to if is_program and isinstance(type, Pointer) else None
    if isinstance(to, Record) and to.name in PROGRAM_CONTEXTS:
        return Pointer(Opaque(f"struct {to.name}"))
    return type
