"""BPF in user space: interpreter, machine code, and the machine that programs run in."""

from fsession.engine.execute import execute
from fsession.engine.machine import Machine

__all__ = ["Machine", "execute"]
