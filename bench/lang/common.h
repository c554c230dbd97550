// SPDX-License-Identifier: Apache-2.0
/* What the programs of examples/ need in C: events, the parts that all of them have. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define MAP(kind, name, key_type, value_type, entries) \
	struct {                                       \
		__uint(type, kind);                    \
		__uint(max_entries, entries);          \
		__type(key, key_type);                 \
		__type(value, value_type);             \
	} name SEC(".maps")

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

static __always_inline u32 log2_of(u64 value)
{
	u32 result, step;

	result = (value > 0xffffffff) << 5;
	value >>= result;
	step = (value > 0xffff) << 4;
	value >>= step;
	result |= step;
	step = (value > 0xff) << 3;
	value >>= step;
	result |= step;
	step = (value > 0xf) << 2;
	value >>= step;
	result |= step;
	step = (value > 3) << 1;
	value >>= step;
	return result | step | (value > 1);
}

char _license[] SEC("license") = "GPL";
