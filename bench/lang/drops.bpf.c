// SPDX-License-Identifier: Apache-2.0
#include "common.h"

struct drop {
	u32 reason;
	s32 stack;
};

MAP(BPF_MAP_TYPE_HASH, drops, struct drop, u64, 10240);

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 512);
	__uint(key_size, 4);
	__uint(value_size, 128);
} stacks SEC(".maps");

struct event {
	u64 number;
	u32 reason, length;
	char device[16];
};

SEC("fentry/sk_skb_reason_drop")
int BPF_PROG(drop, struct sock *sk, struct sk_buff *skb, enum skb_drop_reason reason)
{
	struct drop key = {};
	u64 *slot, zero = 0;
	struct event *e;

	if (reason <= SKB_NOT_DROPPED_YET || reason == SKB_CONSUMED)
		return 0;
	key.reason = reason;
	key.stack = bpf_get_stackid(ctx, &stacks, 0);
	slot = bpf_map_lookup_elem(&drops, &key);
	if (!slot) {
		bpf_map_update_elem(&drops, &key, &zero, BPF_NOEXIST);
		slot = bpf_map_lookup_elem(&drops, &key);
	}
	if (slot)
		__sync_fetch_and_add(slot, 1);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->number = 0;
	e->reason = reason;
	e->length = skb->len;
	e->device[0] = 0;
	bpf_probe_read_kernel_str(e->device, sizeof(e->device), skb->dev->name);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
