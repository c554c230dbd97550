// SPDX-License-Identifier: Apache-2.0
/* A BPF program that is traced, and the sessions on it and on its subprograms. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/* The target: its main program, a global subprogram with arguments, a static one. */
volatile u32 seven = 7;

__noinline int add_up(int first, int second)
{
	barrier_var(first);
	return first * 10 + second + (seven - 7);
}

static __noinline int count_down(int from)
{
	barrier_var(from);
	return from - (int)seven;
}

SEC("xdp")
int target(struct xdp_md *ctx)
{
	return add_up(seven, 4) + count_down(107); /* 74 + 100 */
}

/* A target that calls the kernel: a helper in a subprogram, and a kfunc where there is one. */
struct iterator {
	u64 opaque;
} __attribute__((aligned(8)));

extern int bpf_iter_num_new(struct iterator *it, int start, int end) __ksym __weak;
extern int *bpf_iter_num_next(struct iterator *it) __ksym __weak;
extern void bpf_iter_num_destroy(struct iterator *it) __ksym __weak;

static __noinline int checksum(int to)
{
	__be32 from[2] = { 1, to };

	return bpf_csum_diff(from, sizeof(from), from, 4, 0);
}

SEC("xdp")
int caller(struct xdp_md *ctx)
{
	int sum = checksum(seven);
	struct iterator it;
	int *next;

	if (bpf_iter_num_new) {
		bpf_iter_num_new(&it, 0, 2);
		while ((next = bpf_iter_num_next(&it)))
			sum += *next;
		bpf_iter_num_destroy(&it);
	}
	return sum != 0;
}

/* The same for hosts that run no XDP programs. */
SEC("raw_tp/sys_enter")
int target_raw_tp(void *ctx)
{
	return add_up(seven, 4) + count_down(107);
}

/* The sessions. */
u64 entries, exits, mismatches;
s64 arguments[2];
s64 results[3];

static __always_inline int carry(u64 *ctx, u64 value)
{
	u64 *cookie = bpf_session_cookie(ctx);

	if (bpf_session_is_return(ctx)) {
		mismatches += *cookie != value;
		exits++;
		return 1;
	}
	*cookie = value;
	entries++;
	return 0;
}

SEC("fsession")
int on_main(u64 *ctx)
{
	if (carry(ctx, 111))
		results[0] = (s32)ctx[1];
	return 0;
}

SEC("fsession")
int on_global(u64 *ctx)
{
	/* Read before the branch: two loads that become one of a computed place are refused. */
	s32 first = ctx[0], second = ctx[1], result = ctx[2];

	if (carry(ctx, 222)) {
		results[1] = result;
	} else {
		arguments[0] = first;
		arguments[1] = second;
	}
	return 0;
}

SEC("fsession")
int on_session(u64 *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
