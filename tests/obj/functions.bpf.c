// SPDX-License-Identifier: Apache-2.0
/* Programs in all sections of ours, and the functions that they share. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

u64 total;

static __noinline int leaf(u64 x)
{
	total += x;
	return x > 3;
}

/* Global: verified on its own. */
__noinline int shared(u64 x)
{
	return leaf(x) + leaf(x + 1) + (int)total;
}

/* Hidden: as if it were static. */
__hidden __noinline int hidden(u64 x)
{
	return leaf(x * 3);
}

static long step(u32 index, void *data)
{
	total += index;
	return hidden(index) > 5;
}

SEC("fsession/bpf_fentry_test1")
int BPF_PROG(one_argument, int a)
{
	return leaf(a) & 0;
}

SEC("fsession/bpf_fentry_test1")
int BPF_PROG(calling_back)
{
	bpf_loop(4, step, 0, 0);
	return shared(7) & 0;
}

SEC("fsession.s/bpf_fentry_test2")
int BPF_PROG(sleepable, int a, u64 b)
{
	return shared(a + b) & 0;
}

SEC("fsession.multi/bpf_fentry_test*")
int many(u64 *ctx)
{
	return 0;
}

SEC("fsession.multi.s/vfs_*")
int many_sleepable(u64 *ctx)
{
	return 0;
}

SEC("fentry/nf_conntrack:nf_confirm")
int in_module(u64 *ctx)
{
	return 0;
}

SEC("fexit")
int without_target(u64 *ctx)
{
	return 0;
}

SEC("fexit.s/bpf_fentry_test1")
int BPF_PROG(exit_sleepable, int a, int ret)
{
	return hidden(ret) & 0;
}

SEC("fmod_ret/bpf_modify_return_test")
int BPF_PROG(modify, int a, int *b, int ret)
{
	return ret;
}

SEC("?fentry.s/bpf_fentry_test1")
int left_out(u64 *ctx)
{
	return 0;
}

SEC("fentry/bpf_fentry_test6")
int BPF_PROG(six, u64 a, void *b, short c, int d, void *e, u64 f)
{
	total = a + (u64)b + c + d + (u64)e + f;
	return 0;
}

SEC("raw_tp/sys_enter")
int BPF_PROG(twelve, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 g, u64 h, u64 i, u64 j, u64 k,
	     u64 l)
{
	total = a + b + c + d + e + f + g + h + i + j + k + l;
	return 0;
}

SEC("tp_btf/sched_switch")
int typed_tracepoint(u64 *ctx)
{
	return 0;
}

SEC("syscall")
int run_me(void *ctx)
{
	return shared(2);
}

SEC("my_own_section")
int unknown(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
