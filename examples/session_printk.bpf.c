// One program on both sides of icmp_rcv(): it says on which side it runs.
//
//     fsession run session_printk.bpf.c -- ping -c 1 127.0.0.1
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("fsession/icmp_rcv")
int BPF_PROG(icmp_sides, struct sk_buff *skb)
{
	if (!bpf_session_is_return(ctx)) {
		bpf_printk("fsession entry.\n");
		return 0;
	}
	bpf_printk("fsession exit.\n");
	return 0;
}
