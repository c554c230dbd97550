// SPDX-License-Identifier: Apache-2.0
/* The verifier refuses it, and says which line. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} map SEC(".maps");

SEC("raw_tp")
int wrong(void *ctx)
{
	u32 key = 0, *value = bpf_map_lookup_elem(&map, &key);

	return *value;
}

char _license[] SEC("license") = "GPL";
