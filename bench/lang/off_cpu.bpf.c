// SPDX-License-Identifier: Apache-2.0
#include "common.h"

MAP(BPF_MAP_TYPE_HASH, inside, u32, u64, 4096);

struct event {
	u64 number, thread, took_ns, off_cpu_ns;
};

SEC("fsession/hrtimer_nanosleep")
int BPF_PROG(sleep)
{
	u32 thread = bpf_get_current_pid_tgid();
	u64 *cookie = bpf_session_cookie(ctx), zero = 0, off, *slot, took;
	struct event *e;

	if (!bpf_session_is_return(ctx)) {
		bpf_map_update_elem(&inside, &thread, &zero, 0);
		*cookie = bpf_ktime_get_ns();
		return 0;
	}
	slot = bpf_map_lookup_elem(&inside, &thread);
	off = slot ? *slot : 0;
	bpf_map_delete_elem(&inside, &thread);
	took = bpf_ktime_get_ns() - *cookie;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->number = 0;
	e->thread = thread;
	e->took_ns = took;
	e->off_cpu_ns = off;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("fsession/schedule")
int BPF_PROG(switch_)
{
	u32 thread = bpf_get_current_pid_tgid();
	u64 *cookie, *slot, took, zero = 0;

	if (!bpf_map_lookup_elem(&inside, &thread))
		return 0;
	cookie = bpf_session_cookie(ctx);
	if (!bpf_session_is_return(ctx)) {
		*cookie = bpf_ktime_get_ns();
	} else if (*cookie) {
		took = bpf_ktime_get_ns() - *cookie;
		slot = bpf_map_lookup_elem(&inside, &thread);
		if (!slot) {
			bpf_map_update_elem(&inside, &thread, &zero, BPF_NOEXIST);
			slot = bpf_map_lookup_elem(&inside, &thread);
		}
		if (slot)
			__sync_fetch_and_add(slot, took);
	}
	return 0;
}
