"""TCP segments that are sent again, by the state of the connection."""

import fsession

by_state = fsession.Array("u64", 16)


@fsession.program("fentry/tcp_retransmit_skb")
def again(ctx, sk, segs):
    state = sk.__sk_common.skc_state
    by_state[state & 15] += segs
    if state == TCP_ESTABLISHED:
        fsession.emit(port=fsession.ntohs(sk.__sk_common.skc_dport), segments=segs)
