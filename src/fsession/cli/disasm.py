"""``fsession disasm``: the machine code of a function as it stands, callees by name."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import click

from fsession.cli.report import OK
from fsession.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.callees import KernelMemory, Line
    from fsession.host import Host

__all__ = ["disasm"]

_CODE_BYTES = 8


@click.command()
@click.argument("functions", nargs=-1, required=True, metavar="FUNC...")
@click.option("--calls", is_flag=True, help="Only calls and jumps to other functions.")
def disasm(functions: tuple[str, ...], calls: bool) -> int:
    """Show the machine code of FUNC: offset, bytes, instruction, where it goes.

    It is read from the running kernel, so static calls and what tracing has changed at the entry
    are as they stand. module:FUNC is a module's function, prog:NAME or prog:NAME/PART what the
    kernel compiled of a BPF program.
    """
    from fsession.attach.pattern import ProgramPattern, parse
    from fsession.callees import KernelMemory
    from fsession.kernel import KernelHost

    with KernelHost() as host, KernelMemory(host) as memory:
        for function in functions:
            if isinstance(parse(function), ProgramPattern):
                places = _of_programs(host, memory, function)
            else:
                places = memory.addresses([function])
            for address in places:
                click.echo("".join(_text(memory, function, address, only_calls=calls)), nl=False)
    return OK


def _of_programs(host: Host, memory: KernelMemory, name: str) -> list[int]:
    """Where the functions of BPF programs are that `name` stands for."""
    from fsession.attach import find_targets
    from fsession.tracer.graph_places import CodePlaces, close_programs

    targets = find_targets(host, [name]).targets
    try:
        return CodePlaces(host, memory).addresses(targets)
    finally:
        close_programs(targets)


def _text(memory: KernelMemory, function: str, address: int, *, only_calls: bool) -> list[str]:
    from fsession.callees import disassemble

    (symbol,) = memory.symbols([address])
    if not address or symbol is None:
        raise NotFoundError("kernel function", function)
    (code,) = memory.read([(address, symbol.size)])
    lines = list(disassemble(code, address, platform.machine()))
    names = _names(memory, lines, range(address, address + symbol.size))
    shown = [line for line in lines if not only_calls or line.target in names]
    head = f"{address:#x} <{symbol.label}>: {symbol.size} bytes\n"
    return [head, *(_line(line, address, names.get(line.target, "")) for line in shown)]


def _names(memory: KernelMemory, lines: Sequence[Line], own: range) -> dict[int, str]:
    """Of the places outside of the function that its code goes to."""
    targets = list(dict.fromkeys(line.target for line in lines if line.target))
    others = [target for target in targets if target not in own]
    symbols = zip(others, memory.symbols(others), strict=True)
    return {
        target: symbol.label + (f"+{symbol.offset:#x}" if symbol.offset else "")
        for target, symbol in symbols
        if symbol
    }


def _line(line: Line, start: int, name: str) -> str:
    code = line.code[:_CODE_BYTES].hex(" ") + (" …" if len(line.code) > _CODE_BYTES else "")
    where = f"  <{name}>" if name else ""
    return f"{line.at - start:+#8x}  {code:<26}{line.text}{where}\n"
