"""Which functions a function calls, read from the machine code of a running kernel."""

from fsession.callees.find import Callee, Verdict, find_callees
from fsession.callees.machine import Branch, Line, branches, disassemble
from fsession.callees.memory import KernelMemory, Symbol

__all__ = [
    "Branch",
    "Callee",
    "KernelMemory",
    "Line",
    "Symbol",
    "Verdict",
    "branches",
    "disassemble",
    "find_callees",
]
