"""Functions of shared libraries of this process that have a patchable entry."""

from __future__ import annotations

import ctypes
import errno
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.btf.model import func_model
from fsession.engine.functions import argument_values, cut_result, native_function
from fsession.engine.memory import probe_read
from fsession.engine.native import architecture, images
from fsession.engine.trampoline import Trampoline, standing_at
from fsession.errors import AttachError, NotFoundError

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.btf.model import FuncModel
    from fsession.btf.types import TypeId
    from fsession.engine.objects import CObject
    from fsession.engine.shared import SharedLibrary
    from fsession.engine.trampoline import Graveyard

__all__ = ["LibraryFunction"]

_HEAD_BYTES = 16
_OFFSETS = (0, 4)  # behind endbr64 or bti c, or not
_RETURNS_TWICE_OR_NEVER = frozenset(
    {"setjmp", "_setjmp", "sigsetjmp", "__sigsetjmp", "vfork", "longjmp", "_longjmp", "siglongjmp"}
    | {"abort", "exit", "_exit", "_Exit", "quick_exit", "__assert_fail", "__stack_chk_fail"}
)


class LibraryFunction:
    """A function compiled with ``-fpatchable-function-entry`` or ``-pg -mfentry``, with its calls
    or with nops for them.

    Its prototype is what it was declared as, here or in debug info; a wrong one gives wrong words.
    Vector registers are kept, so floating point arguments and results pass, but programs do not see
    them.
    """

    def __init__(self, types: Types, id: TypeId, library: SharedLibrary) -> None:
        self.name, self.id = types.name_of(id), id
        start = library.start(self.name)
        if start is None:
            raise NotFoundError(f"function in {library.path}", self.name)
        self.start = start
        if self.name in _RETURNS_TWICE_OR_NEVER:
            raise AttachError(self.name, "it returns twice or never", errno.EINVAL)
        place = _patchable(self.start)
        if place is None:
            raise AttachError(self.name, "its entry is not patchable", errno.ENOTSUP).hint(
                f"compile {library.name} with -fpatchable-function-entry=5 (arm64: 2)"
            )
        self.model: FuncModel = func_model(types, id)
        self.address = self.start + place[0]
        self._nops: bytes = place[1]

    def trampoline(self, graveyard: Graveyard) -> Trampoline:
        left = standing_at(self.address)
        if left is not None and left.take_over(self.model, graveyard):
            return left
        made = Trampoline(self.name, self.address, self._nops, self.model, graveyard)
        last = self.address + architecture().ENTRY_BYTES - 1
        first, last = self.address >> 3, last >> 3
        if first != last or len(set(self._nops)) == 1:
            made.alone = _only_thread
        return made

    def __call__(self, *args: int | CObject | bytes) -> int:
        """Call it as C would, with numbers."""
        native = native_function(self.model, self.start)
        result: int = native(*argument_values(self.model, args, self.name))
        return cut_result(result, self.model)


def _patchable(start: int) -> tuple[int, bytes] | None:
    """Offset and original bytes of the place at a function's entry; None if there is none."""
    for offset in _OFFSETS:
        left = standing_at(start + offset)
        if left is not None:
            return offset, left.original
    code = ctypes.string_at(start, _HEAD_BYTES)
    found: tuple[int, bytes] | None = images().nop_shapes(code)
    return found or _call_of_fentry(start, code)


def _call_of_fentry(start: int, code: bytes) -> tuple[int, bytes] | None:
    """As `_patchable`, of a call that ``-pg -mfentry`` made; it is left out while programs are
    attached."""
    call = images().entry_call(code, start, probe_read)
    return call[:2] if call and call[2] == _fentry() else None


@cache
def _fentry() -> int | None:
    """Where the C library's function is; attributes with such names are no symbols for ctypes."""
    try:
        return ctypes.cast(ctypes.CDLL(None)["__fentry__"], ctypes.c_void_p).value
    except AttributeError:
        return None


def _only_thread() -> bool:
    """An entry that can't be changed at once, or in whose middle a thread may stand, is changed
    while there is one thread, and then stays: the stub goes on in the body."""
    return len(list(Path("/proc/self/task").iterdir())) == 1
