"""Hashes, plain and LRU, for all CPUs or each: their code; see maps.py for a map's header."""

from __future__ import annotations

from fsession.engine.map_parts import CPU_OFFSET
from fsession.engine.threads import CPU

__all__ = [
    "HASH_DELETE",
    "HASH_FIND",
    "HASH_HEAD_BYTES",
    "HASH_LOOKUP",
    "HASH_OF",
    "HASH_UPDATE",
    "LRU_LOOKUP",
    "LRU_PERCPU_LOOKUP",
    "LRU_TAKE",
    "PERCPU_HASH_LOOKUP",
    "PERCPU_PLACE",
    "TAKE",
    "UNLINK",
]

HASH_HEAD_BYTES = 16
"""Of an entry of a hash: next entry's number + 1 (u32), state (u32: 1 in use, 3 used lately),
hash (u64); then the key, 8-aligned, and the value."""


_MIX = """
    r0 ^= r4
    r5 = 0xff51afd7ed558ccd ll
    r0 *= r5
    r5 = r0
    r5 >>= 32
    r0 ^= r5
"""
# r1 header, r2 key: a hash of all bytes of the key, of 8, then of 1.
HASH_OF = f"""
    r3 = *(u64 *)(r1 +40)
    r0 = 0x9e3779b97f4a7c15 ll
words:
    if r3 < 8 goto bytes
    r4 = *(u64 *)(r2 +0)
    {_MIX}
    r2 += 8
    r3 += -8
    goto words
bytes:
    if r3 == 0 goto done
    r4 = *(u8 *)(r2 +0)
    {_MIX}
    r2 += 1
    r3 += -1
    goto bytes
done:
    exit
"""

# r6 header, r8 hash: r1 the bucket.
_BUCKET = """
    r1 = *(u64 *)(r6 +112)
    r1 &= r8
    r1 <<= 2
    r2 = *(u64 *)(r6 +88)
    r1 += r2
"""
# r1 header, r2 key, r3 hash: the entry, or 0. Without a lock: entries stay where they are, and a
# miss while something was changed is looked for again.
HASH_FIND = f"""
    r6 = r1
    r7 = r2
    r8 = r3
retry:
    r9 = *(u64 *)(r6 +80)
    *(u64 *)(r10 -16) = r9
    {_BUCKET}
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
_ENTRY_CPU = f"r1 = r6\n{CPU_OFFSET}"
PERCPU_HASH_LOOKUP = _HASH_LOOKUP.format(used="", cpu=_ENTRY_CPU)
LRU_PERCPU_LOOKUP = _HASH_LOOKUP.format(used=_MARK_USED, cpu=_ENTRY_CPU)

# r6 header, r7 key: r8 the hash; r0 the entry, with the lock held, or `out` without it.
_LOCKED_ENTRY = """
    call c:hash
    r8 = r0
    r1 = r6
    call c:lock
    if r0 != 0 goto out
    r1 = r6
    r2 = r7
    r3 = r8
    call c:find
"""
HASH_UPDATE = f"""
    if r4 > 2 goto invalid
    r6 = r1
    r7 = r2
    *(u64 *)(r10 -8) = r3
    *(u64 *)(r10 -16) = r4
    {_LOCKED_ENTRY}
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
    {_BUCKET}
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
PERCPU_PLACE = f"""
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
HASH_DELETE = f"""
    r6 = r1
    r7 = r2
    {_LOCKED_ENTRY}
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
