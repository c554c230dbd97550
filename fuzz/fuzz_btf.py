"""Mutated BTF into everything that reads types.

python fuzz/fuzz_btf.py --count 2000 --seed 1
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from fuzz_obj import bases as objects
from mutate import Span, main

from fsession.btf.catalog import Types
from fsession.btf.decode import read_header
from fsession.btf.encode import encode
from fsession.btf.format import definition, prototype, spell
from fsession.btf.types import Func, TypeId
from fsession.btf.vmlinux_h import vmlinux_h
from fsession.errors import BadInputError, NotFoundError
from fsession.obj.elf import read_elf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def bases() -> Sequence[tuple[bytes, Sequence[Span]]]:
    """The BTF of the test objects; header and types are changed more often than strings."""
    blobs = []
    for data, _ in objects():
        section = read_elf(data).section(".BTF")
        assert section is not None
        at = read_header(section.data)
        spans = [(0, at.types), (at.types, at.types_end), (at.types, at.types_end)]
        blobs.append((section.data, [*spans, (at.strings, at.strings_end)]))
    return blobs


def use(data: bytes) -> None:
    """Decode all types, ask everything of each, print them, write them again."""
    types = Types.from_bytes(data, name="fuzz")
    for name in ("task_struct", "pair", "u64"):
        with suppress(BadInputError, NotFoundError):
            types.id_of(name, Func)
    for ask in (types.__getitem__, types.strip, types.size_of, types.align_of, *_texts(types)):
        for id in range(len(types)):
            with suppress(BadInputError):
                ask(TypeId(id))
    for _, id in types.functions():
        with suppress(BadInputError):
            types.prototype(id)
    with suppress(BadInputError):
        for _ in vmlinux_h(types):
            pass
    again = Types.from_bytes(encode(types))
    assert list(again) == list(types)


def _texts(types: Types) -> tuple[Callable[[TypeId], str], ...]:
    return partial(spell, types), partial(definition, types), partial(prototype, types)


if __name__ == "__main__":
    sys.exit(main("fuzz_btf", bases, use))
