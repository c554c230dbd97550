"""Arguments of tracepoints that may be NULL, or an error number in place of a pointer.

The kernel has a list of them (since 6.12's stable releases). These are what the verifiers of Linux
6.12, 7.0, 7.2 and 7.3 said when each pointer of each of their tracepoints was followed unchecked;
those of one of them count for all. Tracepoints of modules were not asked about.
"""

from __future__ import annotations

__all__ = ["is_number", "may_be_null"]

_MAY_BE_NULL = {
    "break_lease_block": {1},
    "break_lease_noblock": {1},
    "break_lease_unblock": {1},
    "ext4_mballoc_discard": {1},
    "ext4_mballoc_free": {1},
    "fcntl_setlk": {1},
    "fib_table_lookup": {2},
    "flock_lock_inode": {1},
    "folio_wait_writeback": {1},
    "generic_delete_lease": {1},
    "hugetlbfs_alloc_inode": {1},
    "kfree_skb": {3},
    "locks_remove_posix": {1},
    "mm_collapse_huge_page_isolate": {0},
    "mm_khugepaged_collapse_file": {1},
    "mm_khugepaged_scan_file": {1},
    "mm_khugepaged_scan_pmd": {1},
    "mm_page_alloc": {0},
    "mm_page_alloc_zone_locked": {0},
    "mm_page_pcpu_drain": {0},
    "posix_lock_inode": {1},
    "qdisc_dequeue": {3},
    "sched_pi_setprio": {1},
    "sched_process_wait": {0},
    "sched_stick_numa": {2},
    "sched_swap_numa": {2},
    "tcp_send_reset": {0, 1},
    "tcp_sendmsg_locked": {2},
    "time_out_leases": {1},
    "tmigr_update_events": {0},
    "writeback_dirty_folio": {1},
}
_NUMBERS = {"signal_deliver": {1}, "signal_generate": {1}}


def may_be_null(name: str, arg: int) -> bool:
    """`arg` counts from 0 what programs are given."""
    return arg in _MAY_BE_NULL.get(name, ())


def is_number(name: str, arg: int) -> bool:
    """A pointer that is not always one: it is given as a number."""
    return arg in _NUMBERS.get(name, ())
