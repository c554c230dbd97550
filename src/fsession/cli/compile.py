"""``fsession compile``: what becomes of programs in Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsession.cli.report import OK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.lang import Compiled

__all__ = ["compile"]


@click.command()
@click.argument("file")
@click.option("--ir", "stage", flag_value="ir", help="The IR after all passes.")
@click.option("--c-like", "stage", flag_value="c", help="What it computes, as text like C.")
@click.option("--asm", "stage", flag_value="asm", default=True, help="The instructions.")
@click.option("-o", "--output", "path", metavar="OBJECT", help="Write an object file (.bpf.o).")
def compile(file: str, stage: str, path: str | None) -> int:
    """Compile the programs of FILE (.py) for this kernel and print them; nothing is loaded.

    An object file has the field offsets of this kernel; fsession run, libbpf and bpftool load it.
    """
    from fsession.kernel import KernelHost
    from fsession.session.python import PythonObject

    with KernelHost() as host:
        compiled = PythonObject.open(file).compile(host)
        if path is not None:
            from fsession.obj.write import write_object

            Path(path).write_bytes(write_object(compiled.spec, host.types()))
            return OK
    for line in _STAGES[stage](compiled):
        click.echo(line)
    return OK


def _ir(compiled: Compiled) -> Iterator[str]:
    from fsession.lang import show

    for functions in compiled.functions.values():
        yield from (show(function) for function in functions)


def _c_like(compiled: Compiled) -> Iterator[str]:
    from fsession.lang import show_c

    for functions in compiled.functions.values():
        yield from (f"{show_c(function)}\n" for function in functions)


def _asm(compiled: Compiled) -> Iterator[str]:
    """As the verifier's log has it: source lines before their instructions."""
    from fsession.isa.disasm import disassemble
    from fsession.isa.insn import offsets

    for spec in compiled.spec.programs:
        yield f"{spec.name}: {spec.section}, {len(spec.insns)} instructions"
        lines = {line.at: line for line in spec.lines}
        last = ""
        for at, text in zip(offsets(spec.insns), disassemble(spec.insns), strict=False):
            line = lines.get(at)
            if line is not None and line.text != last:
                last = line.text
                yield f"; {line.text} @ {line.file}:{line.line}"
            yield str(text)


_STAGES = {"ir": _ir, "c": _c_like, "asm": _asm}
