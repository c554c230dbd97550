"""Packets that the kernel drops: the reason by number, where it happened, how often.

Linux 6.11 and later: the function has another name before.
"""

import fsession


class Drop(fsession.Struct):
    reason: "u32"
    stack: "s32"


stacks = fsession.StackTrace(max_entries=512, depth=16)
drops = fsession.Hash(Drop, "u64")


@fsession.program("fentry/sk_skb_reason_drop")
def drop(ctx, skb, reason):
    if reason > SKB_NOT_DROPPED_YET and reason != SKB_CONSUMED:
        drops[reason, fsession.get_stackid(ctx, stacks)] += 1
        fsession.emit(reason=reason, length=skb.len, device=skb.dev.name)
