"""Stacks of calls, by frame pointers, from the image outwards."""

from __future__ import annotations

from fsession.engine.native import images

__all__ = ["STACK_CALLS", "stack_call"]

STACK_CALLS = ("bpf_get_stack", "bpf_get_stackid")
"""Those that read a program's context as an image makes it, with the function's address."""

_FLAGS = 0x1FF  # BPF_F_SKIP_FIELD_MASK, BPF_F_USER_STACK: there is one stack here
_MOST_BYTES = 8 << 20  # of one function's frame
_FAST, _REUSE = 0x200, 0x400  # BPF_F_FAST_STACK_CMP, BPF_F_REUSE_STACKID

# r1 context, r2 to, r3 size, r4 flags: bytes that were written. First comes the function itself.
# A frame pointer that is none ends it: where it points to no higher place close by, or where the
# address to return to is on the stack. Loads that fault give 0.
_GET_STACK = """
    r6 = r2
    r7 = r3
    r7 <<= 32
    r7 >>= 32
    r8 = r4
    *(u64 *)(r10 -8) = r1
    r1 = r2
    r2 = 0
    r3 = r7
    call c:memset
    r0 = -22
    r1 = r8
    r1 &= {other_flags}
    if r1 != 0 goto out
    r1 = r7
    r1 &= 7
    if r1 != 0 goto out
    r8 &= 255
    r7 += r6
    *(u64 *)(r10 -16) = r6
    r1 = *(u64 *)(r10 -8)
    {frame}
    r9 = r0
    r4 = *(u64 *)(r1 -16)
put:
    if r8 == 0 goto store
    r8 += -1
    goto outwards
store:
    if r6 >= r7 goto done
    *(u64 *)(r6 +0) = r4
    r6 += 8
outwards:
    if r9 == 0 goto done
    r4 = *(u64 *)(r9 +8)
    if r4 == 0 goto done
    r1 = r4
    r1 -= r9
    r1 += {most}
    if r1 < {twice} goto done
    r3 = *(u64 *)(r9 +0)
    r2 = r3
    r2 -= r9
    r1 = r3
    r1 &= 7
    r9 = 0
    if r1 != 0 goto put
    if r2 == 0 goto put
    if r2 > {most} goto put
    r9 = r3
    goto put
done:
    r1 = *(u64 *)(r10 -16)
    r0 = r6
    r0 -= r1
    if r0 != 0 goto out
    r0 = -14
out:
    exit
"""


# r1 context, r2 map, r3 flags: the stack's id. It is written into the map's spare entry, which
# changes places with the entry that it is to be in (see stackmap.py).
_GET_STACKID = """
    r6 = r1
    r7 = r2
    r8 = r3
    r1 = r8
    r1 &= {other_flags}
    if r1 != 0 goto invalid
    r1 = r7
    call c:lock
    if r0 != 0 goto out
    r9 = *(u64 *)(r7 +104)
    r1 = r6
    r2 = r9
    r2 += 16
    r3 = *(u64 *)(r7 +48)
    r4 = r8
    r4 &= {flags}
    call c:get_stack
    if r0 s< 0 goto unlock
    r1 = r0
    r2 = r9
    r2 += 16
    r3 = 0x9e3779b97f4a7c15 ll
    r5 = 0xff51afd7ed558ccd ll
hash:
    r4 = *(u64 *)(r2 +0)
    r3 ^= r4
    r3 *= r5
    r4 = r3
    r4 >>= 32
    r3 ^= r4
    r2 += 8
    r1 += -8
    if r1 != 0 goto hash
    w3 = w3
    *(u32 *)(r9 +8) = r3
    *(u32 *)(r9 +12) = r0
    r6 = r3
    r1 = *(u64 *)(r7 +112)
    r6 &= r1
    r1 = r6
    r1 <<= 3
    r2 = *(u64 *)(r7 +88)
    r1 += r2
    r2 = *(u64 *)(r1 +0)
    if r2 == 0 goto put
    r4 = *(u32 *)(r2 +8)
    if r4 != r3 goto other
    r4 = r8
    r4 &= {fast}
    if r4 != 0 goto found
    r4 = *(u32 *)(r2 +12)
    if r4 != r0 goto other
    r5 = r9
same:
    r3 = *(u64 *)(r2 +16)
    r4 = *(u64 *)(r5 +16)
    if r3 != r4 goto other
    r2 += 8
    r5 += 8
    r0 += -8
    if r0 != 0 goto same
    goto found
other:
    r0 = -17
    r4 = r8
    r4 &= {reuse}
    if r4 == 0 goto unlock
put:
    r3 = *(u64 *)(r7 +96)
    r0 = -12
    if r3 == 0 goto unlock
    r4 = *(u64 *)(r3 +0)
    *(u64 *)(r7 +96) = r4
    *(u64 *)(r7 +104) = r3
    r2 = *(u64 *)(r1 +0)
    *(u64 *)(r1 +0) = r9
    if r2 == 0 goto found
    r4 = *(u64 *)(r7 +96)
    *(u64 *)(r2 +0) = r4
    *(u64 *)(r7 +96) = r2
found:
    r0 = r6
unlock:
    r6 = r0
    r1 = r7
    call c:unlock
    r0 = r6
out:
    exit
invalid:
    r0 = -22
    exit
"""


def stack_call(name: str) -> str:
    """The text of one of `STACK_CALLS`, for this architecture."""
    if name == "bpf_get_stackid":
        known = _FLAGS | _FAST | _REUSE
        return _GET_STACKID.format(other_flags=~known, flags=_FLAGS, fast=_FAST, reuse=_REUSE)
    frame, most = images().FRAME_OF_CONTEXT, _MOST_BYTES
    return _GET_STACK.format(other_flags=~_FLAGS, frame=frame, most=most, twice=2 * most)
