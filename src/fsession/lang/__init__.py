"""Programs in Python and expressions in C, compiled to BPF: see docs/lang.md."""

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
    "StackTrace",
    "Struct",
    "TaskStorage",
    "compile_programs",
    "function",
    "program",
    "show",
    "show_c",
]
