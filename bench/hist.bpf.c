// SPDX-License-Identifier: Apache-2.0
/*
 * What is measured: nothing at all, and the duration of each call counted in a per-CPU histogram of
 * powers of two; each as a session and as a pair of programs with their own way from entry to exit.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define TARGET "__do_sys_getppid"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} durations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, u32);
	__type(value, u64);
} starts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} task_starts SEC(".maps");

static __always_inline u32 log2_of(u64 value)
{
	u32 result = 0;

	if (value >> 32) {
		value >>= 32;
		result += 32;
	}
	if (value >> 16) {
		value >>= 16;
		result += 16;
	}
	if (value >> 8) {
		value >>= 8;
		result += 8;
	}
	if (value >> 4) {
		value >>= 4;
		result += 4;
	}
	if (value >> 2) {
		value >>= 2;
		result += 2;
	}
	return result + (value >> 1);
}

static __always_inline void count_since(u64 start)
{
	u32 slot = log2_of(bpf_ktime_get_ns() - start);
	u64 *count = bpf_map_lookup_elem(&durations, &slot);

	if (count)
		*count += 1;
}

SEC("fsession/" TARGET)
int empty(u64 *ctx)
{
	return 0;
}

SEC("fsession/" TARGET)
int histogram(u64 *ctx)
{
	u64 *start = bpf_session_cookie(ctx);

	if (bpf_session_is_return(ctx))
		count_since(*start);
	else
		*start = bpf_ktime_get_ns();
	return 0;
}

SEC("fentry/" TARGET)
int hash_entry(u64 *ctx)
{
	u32 thread = bpf_get_current_pid_tgid();
	u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&starts, &thread, &now, BPF_ANY);
	return 0;
}

SEC("fexit/" TARGET)
int hash_exit(u64 *ctx)
{
	u32 thread = bpf_get_current_pid_tgid();
	u64 *start = bpf_map_lookup_elem(&starts, &thread);

	if (!start)
		return 0;
	count_since(*start);
	bpf_map_delete_elem(&starts, &thread);
	return 0;
}

SEC("fentry/" TARGET)
int task_entry(u64 *ctx)
{
	u64 *start = bpf_task_storage_get(&task_starts, bpf_get_current_task_btf(), 0,
					  BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (start)
		*start = bpf_ktime_get_ns();
	return 0;
}

SEC("fexit/" TARGET)
int task_exit(u64 *ctx)
{
	u64 *start = bpf_task_storage_get(&task_starts, bpf_get_current_task_btf(), 0, 0);

	if (start)
		count_since(*start);
	return 0;
}

char _license[] SEC("license") = "GPL";
