// SPDX-License-Identifier: Apache-2.0
/* Every form in which a map is defined. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#ifndef __ulong /* older libbpf */
#define __ulong(name, value) enum { unique_##name##_value = (value) } name
#endif

struct pair {
	u32 left;
	u64 right;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pair);
	__type(value, u64);
} typed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, 4);
	__uint(value_size, sizeof(struct pair));
} sized SEC(".maps");

static struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 100);
	__type(key, u32);
	__type(value, char[12]);
} of_this_file SEC(".maps");

struct {
	__uint(type, 30); /* bloom filter */
	__uint(max_entries, 8);
	__type(value, u64);
	__ulong(map_extra, 5);
} filter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, 1); /* by name */
	__type(key, u32);
	__type(value, u32);
} pinned SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pair);
} per_task SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, u32);
} first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, 12); /* array of maps */
	__uint(max_entries, 4);
	__type(key, u32);
	__array(values, struct inner);
} outer SEC(".maps") = {
	.values = { &first, 0, &second },
};

struct {
	__uint(type, 13); /* hash of maps */
	__uint(max_entries, 4);
	__uint(key_size, 8);
	__uint(value_size, 4);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_HASH);
		__uint(max_entries, 5);
		__type(key, u64);
		__type(value, u64);
	});
} named SEC(".maps");

int jump_a(void *ctx);
int jump_b(void *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, 4);
	__array(values, int(void *));
} jumps SEC(".maps") = {
	.values = { [1] = (void *)&jump_a, [2] = (void *)&jump_b },
};

SEC("raw_tp")
int jump_a(void *ctx)
{
	return 1;
}

SEC("raw_tp")
int jump_b(void *ctx)
{
	return 2;
}

SEC("raw_tp")
int use(void *ctx)
{
	struct pair key = {};
	u32 index = 0;
	u64 *value;

	value = bpf_map_lookup_elem(&typed, &key);
	if (value)
		*value += 1;
	bpf_map_delete_elem(&of_this_file, &index);
	bpf_map_lookup_elem(&sized, &index);
	bpf_map_lookup_elem(&outer, &index);
	bpf_tail_call(ctx, &jumps, 1);
	return 0;
}

char _license[] SEC("license") = "GPL";
