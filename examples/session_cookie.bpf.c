// Eight bytes travel from the entry of a call of icmp_rcv() to the exit of the same call.
//
//     fsession run session_cookie.bpf.c -- ping -c 1 127.0.0.1
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#define MARK 0xDEADBEEF

SEC("fsession/icmp_rcv")
int BPF_PROG(icmp_cookie, struct sk_buff *skb)
{
	__u64 *cookie = bpf_session_cookie(ctx);

	if (bpf_session_is_return(ctx))
		bpf_printk("fsession cookie: 0x%llx\n", *cookie);
	else
		*cookie = MARK;
	return 0;
}
