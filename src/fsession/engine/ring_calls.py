"""What programs do to ring buffers, as BPF of our own; see ringbuf.py for their memory."""

from __future__ import annotations

__all__ = ["RING_CALLS"]

# Ring buffers: kernel/bpf/ringbuf.c. Header +0 data, +8 size, +72 lock, +88 the consumer's page,
# +96 descriptor that wakes the reader. The page before the consumer's has the header's address.
_RING_RESERVE = """
    if r3 != 0 goto refused
    if r2 > 1073741815 goto refused
    r6 = r1
    r7 = r2
    r8 = r2
    r8 += 15
    r8 &= -8
    call c:lock
    if r0 != 0 goto refused
    r1 = *(u64 *)(r6 +88)
    r2 = load_acquire((u64 *)(r1 +0))
    r4 = {page}
    r4 += r1
    r3 = *(u64 *)(r4 +0)
    r5 = *(u32 *)(r6 +8)
    r0 = r3
    r0 += r8
    r8 = r0
    r0 -= r2
    if r0 >= r5 goto full
    r5 += -1
    r3 &= r5
    r9 = *(u64 *)(r6 +0)
    r9 += r3
    r2 = 0x80000000 ll
    r2 |= r7
    *(u32 *)(r9 +0) = r2
    r2 = r9
    r1 += -{page}
    r2 -= r1
    r2 >>= 12
    *(u32 *)(r9 +4) = r2
    store_release((u64 *)(r4 +0), r8)
    r1 = r6
    call c:unlock
    r0 = r9
    r0 += 8
    exit
full:
    r1 = r6
    call c:unlock
refused:
    r0 = 0
    exit
"""
_RING_COMMIT = """
    r6 = r1
    r6 += -8
    r9 = r2
    r3 = *(u32 *)(r6 +4)
    r3 <<= 12
    r4 = r6
    r4 &= -4096
    r4 -= r3
    r7 = *(u64 *)(r4 +0)
    r8 = *(u64 *)(r7 +88)
    r1 = *(u32 *)(r6 +0)
    r2 = {flip:#x} ll
    r1 ^= r2
    r1 = atomic_xchg((u32 *)(r6 +0), r1)
    if r9 & 2 goto wake
    if r9 & 1 goto out
    r1 = load_acquire((u64 *)(r8 +0))
    r2 = *(u32 *)(r7 +8)
    r2 += -1
    r1 &= r2
    r3 = *(u64 *)(r7 +0)
    r6 -= r3
    if r1 != r6 goto out
wake:
    r1 = *(u64 *)(r7 +96)
    r2 = 1
    call c:eventfd_write
out:
    r0 = 0
    exit
"""
_RING_OUTPUT = """
    if r4 > 3 goto invalid
    r6 = r2
    r7 = r3
    r8 = r4
    r2 = r3
    r3 = 0
    call c:reserve
    if r0 == 0 goto full
    r9 = r0
    r1 = r0
    r2 = r6
    r3 = r7
    call c:memcpy
    r1 = r9
    r2 = r8
    call c:submit
    r0 = 0
    exit
full:
    r0 = -11
    exit
invalid:
    r0 = -22
    exit
"""
_RING_QUERY = """
    r3 = *(u64 *)(r1 +88)
    r4 = load_acquire((u64 *)(r3 +0))
    r3 += {page}
    r5 = load_acquire((u64 *)(r3 +0))
    if r2 == 0 goto pending
    if r2 == 1 goto size
    if r2 == 2 goto consumer
    r0 = 0
    if r2 != 3 goto out
    r0 = r5
    exit
pending:
    r0 = r5
    r0 -= r4
    exit
size:
    r0 = *(u32 *)(r1 +8)
    exit
consumer:
    r0 = r4
out:
    exit
"""
_BUSY, _DISCARD = 1 << 31, 1 << 30
_PAGE = 4096  # PROT granularity of pages is asked of the system where the ring is made

RING_CALLS = {
    "bpf_ringbuf_reserve": _RING_RESERVE.format(page=_PAGE),
    "bpf_ringbuf_submit": _RING_COMMIT.format(flip=_BUSY),
    "bpf_ringbuf_discard": _RING_COMMIT.format(flip=_BUSY | _DISCARD),
    "bpf_ringbuf_output": _RING_OUTPUT,
    "bpf_ringbuf_query": _RING_QUERY.format(page=_PAGE),
}
