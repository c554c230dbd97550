"""What the code of several kinds of maps has in it; see maps.py for a map's header."""

from __future__ import annotations

from fsession.engine.threads import CPU

__all__ = ["CPU_OFFSET", "LOCK", "UNLOCK"]

# r0 the value of CPU 0, r1 header: that of the thread's CPU.
CPU_OFFSET = f"""
    r6 = r0
    r7 = *(u64 *)(r1 +56)
    call c:thread
    r1 = *(u64 *)(r0 +{CPU})
    r1 *= r7
    r0 = r6
    r0 += r1
"""

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
