"""BPF programs in C: compile them, and read the objects that compilers write."""

from fsession.obj.compile import compile_c, find_compiler, vmlinux_text
from fsession.obj.reader import read_object

__all__ = ["compile_c", "find_compiler", "read_object", "vmlinux_text"]
