"""What names and expressions of a program in Python stand for while it is compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsession.frozen import frozen
from fsession.lang.access import Place, Typed

if TYPE_CHECKING:
    from fsession.lang.ctypes import CType
    from fsession.lang.ir import Value

__all__ = ["Argument", "Context", "Frames", "Item", "Many", "Maybe", "Static"]


@frozen
class Static:
    """Known while compiling: a number, a text, None, a map, a function, a module."""

    value: Any


@frozen
class Argument:
    """A parameter of the traced function: read from the context where it is used."""

    name: str
    type: CType
    slot: int
    is_direct: bool


@frozen
class Context:
    """``ctx``, as helpers and kfuncs take it."""

    value: Value


@frozen
class Maybe:
    """`item` if `present` is not 0, else None."""

    item: Typed | Place
    present: Value


@frozen
class Many:
    """A tuple."""

    items: tuple[Item, ...]


@frozen
class Frames:
    """The innermost `depth` calls of the kernel's stack, or the process's."""

    depth: int
    of_process: bool = False


Item = Typed | Place | Static | Argument | Context | Maybe | Many | Frames
