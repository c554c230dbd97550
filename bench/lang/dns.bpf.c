// SPDX-License-Identifier: Apache-2.0
#include "common.h"

struct event {
	u64 number;
	char comm[16], name[64];
};

SEC("fentry/udp_send_skb")
int BPF_PROG(query, struct sk_buff *skb, struct flowi4 *fl4)
{
	char comm[16] = {}, *at;
	struct event *e;

	if (__builtin_bswap16(fl4->uli.ports.dport) != 53)
		return 0;
	at = (char *)skb->head + skb->transport_header + 8 + 12;
	bpf_get_current_comm(comm, sizeof(comm));
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->number = 0;
	e->comm[0] = 0;
	bpf_probe_read_kernel_str(e->comm, sizeof(e->comm), comm);
	e->name[0] = 0;
	if (bpf_probe_read_kernel_str(e->name, sizeof(e->name), at) < 0)
		bpf_probe_read_user_str(e->name, sizeof(e->name), at);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
