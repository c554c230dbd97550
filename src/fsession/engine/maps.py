"""Kinds of maps: their memory, and what programs do to them, as machine code.

A map is a header that instructions point to, and its memory::

    header +0   address of the values         +8   max_entries (u32)
           +16  lookup      +24  update       +32  delete (addresses of code)
           +40  key_size    +48  value_size   +56  bytes of one CPU's value, 8-aligned
           +64  bytes from entry to entry     +72  lock: address of its owner's block
           +80  changes     +88  buckets      +96  first free entry   +104 clock hand
           +112 number of buckets less 1

Code of a kind takes what the helper takes: r1 the header, r2 the key, r3 the value, r4 the flags.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from fsession.engine.native import Function, compile_text
from fsession.engine.threads import CPU, threads

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "HASH_HEAD_BYTES",
    "LOCK",
    "STORAGE_DELETE",
    "STORAGE_GET",
    "UNLOCK",
    "MapCode",
    "map_code",
]

HASH_HEAD_BYTES = 16
"""Of an entry of a hash: next entry's number + 1 (u32), state (u32: 1 in use, 3 used lately),
hash (u64); then the key, 8-aligned, and the value."""

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
_CPU_OFFSET = f"""
    r6 = r0
    r7 = *(u64 *)(r1 +56)
    call c:thread
    r1 = *(u64 *)(r0 +{CPU})
    r1 *= r7
    r0 = r6
    r0 += r1
"""
PERCPU_ARRAY_LOOKUP = f"""
    {_ARRAY_INDEX}
    {_CPU_OFFSET}
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

# r1 header, r2 key: a hash of all bytes of the key, of 8, then of 1.
HASH_OF = """
    r3 = *(u64 *)(r1 +40)
    r0 = 0x9e3779b97f4a7c15 ll
words:
    if r3 < 8 goto bytes
    r4 = *(u64 *)(r2 +0)
    r0 ^= r4
    r5 = 0xff51afd7ed558ccd ll
    r0 *= r5
    r5 = r0
    r5 >>= 32
    r0 ^= r5
    r2 += 8
    r3 += -8
    goto words
bytes:
    if r3 == 0 goto done
    r4 = *(u8 *)(r2 +0)
    r0 ^= r4
    r5 = 0xff51afd7ed558ccd ll
    r0 *= r5
    r5 = r0
    r5 >>= 32
    r0 ^= r5
    r2 += 1
    r3 += -1
    goto bytes
done:
    exit
"""

# r1 header, r2 key, r3 hash: the entry, or 0. Without a lock: entries stay where they are, and a
# miss while something was changed is looked for again.
HASH_FIND = """
    r6 = r1
    r7 = r2
    r8 = r3
retry:
    r9 = *(u64 *)(r6 +80)
    *(u64 *)(r10 -16) = r9
    r1 = *(u64 *)(r6 +112)
    r1 &= r8
    r1 <<= 2
    r2 = *(u64 *)(r6 +88)
    r1 += r2
    r9 = *(u32 *)(r1 +0)
chain:
    if r9 == 0 goto miss
    r9 += -1
    r1 = *(u64 *)(r6 +64)
    r9 *= r1
    r1 = *(u64 *)(r6 +0)
    r9 += r1
    r1 = *(u64 *)(r9 +8)
    if r1 != r8 goto next
    r1 = r9
    r1 += 16
    r2 = r7
    r3 = *(u64 *)(r6 +40)
    call c:memcmp
    if w0 != 0 goto next
    r1 = *(u32 *)(r9 +4)
    if r1 == 0 goto next
    r0 = r9
    exit
next:
    r9 = *(u32 *)(r9 +0)
    goto chain
miss:
    r1 = *(u64 *)(r10 -16)
    r2 = load_acquire((u64 *)(r6 +80))
    if r1 != r2 goto retry
    r0 = 0
    exit
"""
_VALUE_OF_ENTRY = """
    r1 = *(u64 *)(r6 +40)
    r1 += 23
    r1 &= -8
    r0 += r1
"""
_HASH_LOOKUP = f"""
    r6 = r1
    r7 = r2
    call c:hash
    r1 = r6
    r2 = r7
    r3 = r0
    call c:find
    if r0 == 0 goto none
    {{used}}
    {_VALUE_OF_ENTRY}
    {{cpu}}
none:
    exit
"""
_MARK_USED = "r1 = *(u32 *)(r0 +4)\n if r1 == 3 goto seen\n *(u32 *)(r0 +4) = 3\nseen:"
HASH_LOOKUP = _HASH_LOOKUP.format(used="", cpu="")
LRU_LOOKUP = _HASH_LOOKUP.format(used=_MARK_USED, cpu="")
_ENTRY_CPU = f"r1 = r6\n{_CPU_OFFSET}"
PERCPU_HASH_LOOKUP = _HASH_LOOKUP.format(used="", cpu=_ENTRY_CPU)
LRU_PERCPU_LOOKUP = _HASH_LOOKUP.format(used=_MARK_USED, cpu=_ENTRY_CPU)

# r1 header: 0 and the lock is held, or EBUSY where this very thread has it (a signal, a recursion).
LOCK = """
    r6 = r1
    call c:thread
    r7 = r0
again:
    r0 = 0
    r0 = atomic64_cmpxchg((u64 *)(r6 +72), r0, r7)
    if r0 == 0 goto out
    if r0 == r7 goto busy
    call c:sched_yield
    goto again
busy:
    r0 = -16
out:
    exit
"""
UNLOCK = "r2 = 0\n store_release((u64 *)(r1 +72), r2)\n r0 = 0\n exit"

HASH_UPDATE = f"""
    if r4 > 2 goto invalid
    r6 = r1
    r7 = r2
    *(u64 *)(r10 -8) = r3
    *(u64 *)(r10 -16) = r4
    call c:hash
    r8 = r0
    r1 = r6
    call c:lock
    if r0 != 0 goto out
    r1 = r6
    r2 = r7
    r3 = r8
    call c:find
    r9 = r0
    r1 = *(u64 *)(r10 -16)
    if r9 == 0 goto fresh
    r2 = -17
    if r1 == 1 goto fail
    goto write
fresh:
    r2 = -2
    if r1 == 2 goto fail
    r1 = r6
    call c:take
    r9 = r0
    r2 = -7
    if r9 == 0 goto fail
    *(u64 *)(r9 +8) = r8
    r1 = r9
    r1 += 16
    r2 = r7
    r3 = *(u64 *)(r6 +40)
    call c:memcpy
write:
    r0 = r9
    {_VALUE_OF_ENTRY}
    r1 = r0
    r2 = *(u64 *)(r10 -8)
    {{place}}
    r3 = *(u64 *)(r6 +48)
    call c:memcpy
    r1 = *(u32 *)(r9 +4)
    if r1 != 0 goto fine
    *(u32 *)(r9 +4) = 1
    r1 = *(u64 *)(r6 +112)
    r1 &= r8
    r1 <<= 2
    r2 = *(u64 *)(r6 +88)
    r1 += r2
    r3 = *(u32 *)(r1 +0)
    *(u32 *)(r9 +0) = r3
    r3 = r9
    r2 = *(u64 *)(r6 +0)
    r3 -= r2
    r2 = *(u64 *)(r6 +64)
    r3 /= r2
    r3 += 1
    store_release((u32 *)(r1 +0), r3)
fine:
    r2 = 0
fail:
    r7 = r2
    r1 = r6
    call c:unlock
    r0 = r7
out:
    exit
invalid:
    r0 = -22
    exit
"""
# A new entry of a per-CPU hash has 0 for the other CPUs.
_PERCPU_PLACE = f"""
    r7 = r1
    r1 = *(u32 *)(r9 +4)
    if r1 != 0 goto mine
    r1 = r7
    r2 = 0
    r3 = *(u64 *)(r6 +56)
    r3 *= {{cpus}}
    call c:memset
mine:
    call c:thread
    r1 = *(u64 *)(r0 +{CPU})
    r2 = *(u64 *)(r6 +56)
    r1 *= r2
    r1 += r7
    r2 = *(u64 *)(r10 -8)
"""

# r1 header, locked: a free entry, or 0.
TAKE = """
    r2 = *(u64 *)(r1 +96)
    if r2 == 0 goto none
    r2 += -1
    r3 = *(u64 *)(r1 +64)
    r2 *= r3
    r0 = *(u64 *)(r1 +0)
    r0 += r2
    r2 = *(u32 *)(r0 +0)
    *(u64 *)(r1 +96) = r2
    exit
none:
    r0 = 0
    exit
"""
# The same for LRU: where none is free, the hand goes round and takes the first that was not used
# since it came by last.
LRU_TAKE = """
    r6 = r1
    call c:take
    if r0 != 0 goto out
round:
    r7 = *(u64 *)(r6 +104)
    r1 = *(u32 *)(r6 +8)
    r2 = r7
    r2 += 1
    if r2 < r1 goto inside
    r2 = 0
inside:
    *(u64 *)(r6 +104) = r2
    r1 = *(u64 *)(r6 +64)
    r7 *= r1
    r1 = *(u64 *)(r6 +0)
    r7 += r1
    r1 = *(u32 *)(r7 +4)
    if r1 != 3 goto victim
    *(u32 *)(r7 +4) = 1
    goto round
victim:
    r1 = r6
    r2 = r7
    call c:unlink
    r1 = r6
    call c:take
out:
    exit
"""
# r1 header, locked, r2 an entry in use: out of its chain and on the free list.
UNLINK = """
    r6 = *(u64 *)(r2 +8)
    r3 = *(u64 *)(r1 +112)
    r3 &= r6
    r3 <<= 2
    r4 = *(u64 *)(r1 +88)
    r3 += r4
    r7 = *(u64 *)(r1 +0)
    r8 = *(u64 *)(r1 +64)
    r4 = r2
    r4 -= r7
    r4 /= r8
    r4 += 1
chain:
    r5 = *(u32 *)(r3 +0)
    if r5 == r4 goto found
    r5 += -1
    r5 *= r8
    r3 = r7
    r3 += r5
    goto chain
found:
    r5 = *(u32 *)(r2 +0)
    *(u32 *)(r2 +4) = 0
    *(u32 *)(r3 +0) = r5
    r3 = 1
    lock *(u64 *)(r1 +80) += r3
    r5 = *(u64 *)(r1 +96)
    *(u32 *)(r2 +0) = r5
    *(u64 *)(r1 +96) = r4
    r0 = 0
    exit
"""
HASH_DELETE = """
    r6 = r1
    r7 = r2
    call c:hash
    r8 = r0
    r1 = r6
    call c:lock
    if r0 != 0 goto out
    r1 = r6
    r2 = r7
    r3 = r8
    call c:find
    r9 = -2
    if r0 == 0 goto done
    r1 = r6
    r2 = r0
    call c:unlink
    r9 = 0
done:
    r1 = r6
    call c:unlock
    r0 = r9
out:
    exit
"""


# r1 header, whose first word is the distance from a task to its word of this map, r2 the task (that
# of a thread's block), r3 a first value or 0, r4 flags. A value that was deleted is kept for the
# next one: whoever still has a pointer to it reads memory of this map.
STORAGE_GET = """
    if r2 == 0 goto none
    if r4 > 1 goto none
    r6 = *(u64 *)(r1 +0)
    r6 += r2
    r0 = *(u64 *)(r6 +0)
    if r0 == 0 goto fresh
    if r0 & 1 goto again
    exit
fresh:
    if r4 == 0 goto none
    r7 = r1
    r8 = r3
    r1 = 1
    r2 = *(u64 *)(r7 +56)
    call c:calloc
    if r0 == 0 goto none
    r9 = r0
    if r8 == 0 goto made
    r1 = r9
    r2 = r8
    r3 = *(u64 *)(r7 +48)
    call c:memcpy
made:
    r0 = 0
    r0 = atomic64_cmpxchg((u64 *)(r6 +0), r0, r9)
    if r0 == 0 goto ours
    r6 = r0
    r1 = r9
    call c:free
    r0 = r6
    r0 &= -2
    exit
ours:
    r0 = r9
    exit
again:
    if r4 == 0 goto none
    r7 = r1
    r8 = r3
    r9 = r0
    r9 &= -2
    r1 = r9
    r2 = 0
    r3 = *(u64 *)(r7 +56)
    call c:memset
    if r8 == 0 goto filled
    r1 = r9
    r2 = r8
    r3 = *(u64 *)(r7 +48)
    call c:memcpy
filled:
    store_release((u64 *)(r6 +0), r9)
    r0 = r9
    exit
none:
    r0 = 0
    exit
"""
STORAGE_DELETE = """
    r3 = -22
    if r2 == 0 goto out
    r1 = *(u64 *)(r1 +0)
    r1 += r2
    r0 = *(u64 *)(r1 +0)
    r3 = -2
    if r0 == 0 goto out
    if r0 & 1 goto out
    r2 = r0
    r2 |= 1
    r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)
    r3 = 0
out:
    r0 = r3
    exit
"""


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
    place = _PERCPU_PLACE.format(cpus=cpus) if percpu else ""
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
