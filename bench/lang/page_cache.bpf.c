// SPDX-License-Identifier: Apache-2.0
#include "common.h"

MAP(BPF_MAP_TYPE_PERCPU_ARRAY, counts, u32, u64, 2);

static __always_inline void count(u32 key)
{
	u64 *slot = bpf_map_lookup_elem(&counts, &key);

	if (slot)
		*slot += 1;
}

SEC("fentry/folio_mark_accessed")
int BPF_PROG(accessed)
{
	count(0);
	return 0;
}

SEC("fexit/filemap_add_folio")
int BPF_PROG(added, void *mapping, void *folio, u64 index, u32 gfp, int ret)
{
	if (!ret)
		count(1);
	return 0;
}
