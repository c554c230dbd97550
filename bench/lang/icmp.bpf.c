// SPDX-License-Identifier: Apache-2.0
#include "common.h"

MAP(BPF_MAP_TYPE_PERCPU_ARRAY, durations, u32, u64, 64);
u64 threshold = 1000;

struct event {
	u64 number;
	u32 length;
	char name[16];
	u64 took_ns;
	s32 ret;
};

SEC("fsession/icmp_rcv")
int BPF_PROG(icmp, struct sk_buff *skb, int ret)
{
	u64 *cookie = bpf_session_cookie(ctx), took, *slot;
	struct event *e;
	u32 key;

	if (!bpf_session_is_return(ctx)) {
		*cookie = bpf_ktime_get_ns();
		return 0;
	}
	took = bpf_ktime_get_ns() - *cookie;
	key = log2_of(took);
	slot = bpf_map_lookup_elem(&durations, &key);
	if (slot)
		*slot += 1;
	if (took > threshold && skb->dev->ifindex == 1) {
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
		if (!e)
			return 0;
		e->number = 0;
		e->length = skb->len;
		e->name[0] = 0;
		bpf_probe_read_kernel_str(e->name, sizeof(e->name), skb->dev->name);
		e->took_ns = took;
		e->ret = ret;
		bpf_ringbuf_submit(e, 0);
	}
	return 0;
}
