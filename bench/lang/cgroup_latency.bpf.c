// SPDX-License-Identifier: Apache-2.0
#include "common.h"

struct total {
	u64 calls, took_ns;
};

MAP(BPF_MAP_TYPE_HASH, totals, u64, struct total, 10240);

SEC("fsession/vfs_read")
int BPF_PROG(read)
{
	u64 *cookie = bpf_session_cookie(ctx), took, group;
	struct total *total;

	if (!bpf_session_is_return(ctx)) {
		*cookie = bpf_ktime_get_ns();
		return 0;
	}
	took = bpf_ktime_get_ns() - *cookie;
	group = bpf_get_current_cgroup_id();
	total = bpf_map_lookup_elem(&totals, &group);
	if (!total) {
		struct total first = {1, took};

		bpf_map_update_elem(&totals, &group, &first, 0);
	} else {
		__sync_fetch_and_add(&total->calls, 1);
		__sync_fetch_and_add(&total->took_ns, took);
	}
	return 0;
}
