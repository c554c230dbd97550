"""Programs in Python and expressions in C, compiled to BPF: see docs/lang.md.

Names are imported when they are first used: the tracer needs the back end alone.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsession.lang.clike import show_c
    from fsession.lang.events import EventDecoder
    from fsession.lang.objects import (
        Array,
        Function,
        Global,
        Hash,
        LruHash,
        Map,
        PerCpuArray,
        PerCpuHash,
        RingBuf,
        StackTrace,
        Struct,
        TaskStorage,
    )
    from fsession.lang.program import Compiled, Program, compile_programs, function, program
    from fsession.lang.show import show

__all__ = [
    "Array",
    "Compiled",
    "EventDecoder",
    "Function",
    "Global",
    "Hash",
    "LruHash",
    "Map",
    "PerCpuArray",
    "PerCpuHash",
    "Program",
    "RingBuf",
    "StackTrace",
    "Struct",
    "TaskStorage",
    "compile_programs",
    "function",
    "program",
    "show",
    "show_c",
]

_MODULES = {
    "clike": ("show_c",),
    "events": ("EventDecoder",),
    "program": ("Compiled", "Program", "compile_programs", "function", "program"),
    "show": ("show",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first used (PEP 562)."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'fsession.lang' has no attribute '{name}'")
    value = getattr(import_module(f"fsession.lang.{_PLACES.get(name, 'objects')}"), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """``program`` and ``show`` are functions, though there are modules of these names, too."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _PLACES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
