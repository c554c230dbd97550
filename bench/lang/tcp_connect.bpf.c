// SPDX-License-Identifier: Apache-2.0
#include "common.h"

struct event {
	u64 number;
	u32 address;
	u16 port;
	u8 state;
	u64 took_ns;
	s32 ret;
};

SEC("fsession/tcp_v4_connect")
int BPF_PROG(connect, struct sock *sk, struct sockaddr *uaddr, int len, int ret)
{
	u64 *cookie = bpf_session_cookie(ctx), took;
	struct sockaddr_in to;
	struct event *e;

	if (!bpf_session_is_return(ctx)) {
		*cookie = bpf_ktime_get_ns();
		return 0;
	}
	bpf_probe_read_kernel(&to, 8, uaddr);
	took = bpf_ktime_get_ns() - *cookie;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->number = 0;
	e->address = __builtin_bswap32(to.sin_addr.s_addr);
	e->port = __builtin_bswap16(to.sin_port);
	e->state = sk->__sk_common.skc_state;
	e->took_ns = took;
	e->ret = ret;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
