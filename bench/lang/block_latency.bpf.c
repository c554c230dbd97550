// SPDX-License-Identifier: Apache-2.0
#include "common.h"

MAP(BPF_MAP_TYPE_HASH, started, u64, u64, 8192);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, durations, u32, u64, 32);

SEC("fentry/blk_mq_start_request")
int BPF_PROG(start, struct request *rq)
{
	u64 key = (u64)rq, now = bpf_ktime_get_ns();

	bpf_map_update_elem(&started, &key, &now, 0);
	return 0;
}

SEC("fentry/blk_mq_end_request")
int BPF_PROG(end, struct request *rq)
{
	u64 key = (u64)rq, *since, *slot;
	u32 bucket;

	since = bpf_map_lookup_elem(&started, &key);
	if (!since)
		return 0;
	bucket = log2_of((bpf_ktime_get_ns() - *since) / 1000);
	slot = bpf_map_lookup_elem(&durations, &bucket);
	if (slot)
		*slot += 1;
	bpf_map_delete_elem(&started, &key);
	return 0;
}
