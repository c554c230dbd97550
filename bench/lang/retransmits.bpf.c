// SPDX-License-Identifier: Apache-2.0
#include "common.h"

MAP(BPF_MAP_TYPE_ARRAY, by_state, u32, u64, 16);

struct event {
	u64 number;
	u16 port;
	s32 segments;
};

SEC("fentry/tcp_retransmit_skb")
int BPF_PROG(again, struct sock *sk, struct sk_buff *skb, int segs)
{
	u8 state = sk->__sk_common.skc_state;
	u32 key = state & 15;
	struct event *e;
	u64 *slot;

	slot = bpf_map_lookup_elem(&by_state, &key);
	if (slot)
		__sync_fetch_and_add(slot, segs);
	if (state == TCP_ESTABLISHED) {
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
		if (!e)
			return 0;
		e->number = 0;
		e->port = __builtin_bswap16(sk->__sk_common.skc_dport);
		e->segments = segs;
		bpf_ringbuf_submit(e, 0);
	}
	return 0;
}
