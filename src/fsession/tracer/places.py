"""Names of the kernel's addresses, with source lines where debug info is at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.host import Host
    from fsession.obj.lines import SourceLines

__all__ = ["places"]

_BASE = "_stext"


def places(host: Host, lines: SourceLines | None) -> Callable[[int], str | None]:
    """From an address to ``icmp_rcv+0x12 (net/ipv4/icmp.c:1031)``; `lines` of the vmlinux file.

    The kernel runs elsewhere than it was linked for (KASLR): by as much as its first symbol.
    Raises `BadInputError` for the debug info of something else.
    """
    if lines is None:
        return host.symbol_at
    linked, running = lines.symbol(_BASE), host.symbol(_BASE)
    if linked is None or running is None:
        raise BadInputError(f"--vmlinux: no symbol '{_BASE}' in the file, or in /proc/kallsyms")
    moved = running - linked

    def name(address: int) -> str | None:
        symbol = host.symbol_at(address)
        if symbol is None or symbol.endswith("]"):  # of a module: not in vmlinux
            return symbol
        # a return address is behind its call, maybe in the next line
        line = lines.line(address - moved - ("+" in symbol))
        return f"{symbol} ({line})" if line else symbol

    return name
