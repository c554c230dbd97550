"""Stacks of calls, by frame pointers, from the image outwards."""

from __future__ import annotations

from fsession.engine.native import images

__all__ = ["STACK_CALLS", "get_stack"]

STACK_CALLS = ("bpf_get_stack",)
"""Those that read a program's context as an image makes it, with the function's address."""

_FLAGS = 0x1FF  # BPF_F_SKIP_FIELD_MASK, BPF_F_USER_STACK: there is one stack here
_MOST_BYTES = 8 << 20  # of one function's frame

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


def get_stack() -> str:
    """The helper's text, for this architecture."""
    frame, most = images().FRAME_OF_CONTEXT, _MOST_BYTES
    return _GET_STACK.format(other_flags=~_FLAGS, frame=frame, most=most, twice=2 * most)
