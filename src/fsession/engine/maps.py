"""Kinds of maps: their memory, and what programs do to them, as machine code.

A map is a header that instructions point to, and its memory::

    header +0   address of the values         +8   max_entries (u32)
           +16  lookup      +24  update       +32  delete (addresses of code)
           +40  key_size    +48  value_size   +56  bytes of one CPU's value, 8-aligned
           +64  bytes from entry to entry     +72  lock: address of its owner's block
           +80  changes     +88  buckets      +96  first free entry
           +104 clock hand of an LRU, spare entry of a map of stacks   +112 number of buckets less 1

Code of a kind takes what the helper takes: r1 the header, r2 the key, r3 the value, r4 the flags.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from fsession.engine.hashes import (
    HASH_DELETE,
    HASH_FIND,
    HASH_LOOKUP,
    HASH_OF,
    HASH_UPDATE,
    LRU_LOOKUP,
    LRU_PERCPU_LOOKUP,
    LRU_TAKE,
    PERCPU_HASH_LOOKUP,
    PERCPU_PLACE,
    TAKE,
    UNLINK,
)
from fsession.engine.map_parts import CPU_OFFSET, LOCK, UNLOCK
from fsession.engine.native import Function, compile_text
from fsession.engine.threads import threads

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MapCode", "map_code"]

# index: entry's number to r3, or out
_ARRAY_INDEX = """
    r3 = *(u32 *)(r2 +0)
    r4 = *(u32 *)(r1 +8)
    if r3 >= r4 goto none
    r0 = *(u64 *)(r1 +0)
    r4 = *(u64 *)(r1 +64)
    r3 *= r4
    r0 += r3
"""
ARRAY_LOOKUP = f"""
    {_ARRAY_INDEX}
    exit
none:
    r0 = 0
    exit
"""
PERCPU_ARRAY_LOOKUP = f"""
    {_ARRAY_INDEX}
    {CPU_OFFSET}
    exit
none:
    r0 = 0
    exit
"""
ARRAY_UPDATE = """
    if r4 > 2 goto invalid
    r6 = r3
    r7 = *(u64 *)(r1 +48)
    r5 = *(u32 *)(r2 +0)
    r0 = *(u32 *)(r1 +8)
    if r5 >= r0 goto big
    if r4 == 1 goto there
    call c:lookup
    r1 = r0
    r2 = r6
    r3 = r7
    call c:memcpy
    r0 = 0
    exit
invalid:
    r0 = -22
    exit
big:
    r0 = -7
    exit
there:
    r0 = -17
    exit
"""
REFUSED = "r0 = -22\n exit"


class MapCode:
    """Machine code of one kind of map; `update_all` sets the values of all CPUs."""

    def __init__(
        self, lookup: Function, update: Function, delete: Function, whole: Function
    ) -> None:
        self.lookup, self.update, self.delete, self.update_all = lookup, update, delete, whole


@cache
def _parts() -> Mapping[str, int | bytes]:
    """What the code of hashes calls."""
    names: dict[str, int | bytes] = {"thread": threads().load}
    for name, text in (
        ("hash", HASH_OF),
        ("find", HASH_FIND),
        ("lock", LOCK),
        ("unlock", UNLOCK),
        ("take", TAKE),
        ("unlink", UNLINK),
    ):
        function = compile_text(text, names)
        _kept.append(function)
        names[name] = function.address
    return names


_kept: list[Function] = []


@cache
def map_code(kind: str, cpus: int) -> MapCode:
    """Of ``array``, ``percpu_array``, ``hash``, ``percpu_hash``, ``lru_hash``, ``lru_percpu_hash``;
    anything else refuses all three. `cpus` is the number of values of a per-CPU entry."""
    if kind.endswith("array"):
        return _array_code(percpu=kind.startswith("percpu"))
    if not kind.endswith("hash"):
        refused = compile_text(REFUSED, {})
        return MapCode(compile_text("r0 = 0\n exit", {}), refused, refused, refused)
    names = dict(_parts())
    percpu, lru = "percpu" in kind, "lru" in kind
    if lru:
        take = compile_text(LRU_TAKE, names)
        _kept.append(take)
        names["take"] = take.address
    lookup = {
        (False, False): HASH_LOOKUP,
        (True, False): PERCPU_HASH_LOOKUP,
        (False, True): LRU_LOOKUP,
        (True, True): LRU_PERCPU_LOOKUP,
    }[percpu, lru]
    place = PERCPU_PLACE.format(cpus=cpus) if percpu else ""
    whole = HASH_UPDATE.format(place="")
    if percpu:
        whole = whole.replace("r3 = *(u64 *)(r6 +48)", f"r3 = *(u64 *)(r6 +56)\n r3 *= {cpus}")
    return MapCode(
        compile_text(lookup, names),
        compile_text(HASH_UPDATE.format(place=place), names),
        compile_text(HASH_DELETE, names),
        compile_text(whole, names),
    )


def _array_code(*, percpu: bool) -> MapCode:
    names: dict[str, int | bytes] = {"thread": threads().load}
    lookup = compile_text(PERCPU_ARRAY_LOOKUP if percpu else ARRAY_LOOKUP, names)
    update = compile_text(ARRAY_UPDATE, {**names, "lookup": lookup.address})
    return MapCode(lookup, update, compile_text(REFUSED, {}), update)
