// SPDX-License-Identifier: Apache-2.0
/* Every kind of CO-RE relocation, by the macros. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

struct task_struct___other {
	u32 no_such_member;
} __attribute__((preserve_access_index));

struct no_such_struct {
	int x;
} __attribute__((preserve_access_index));

enum bpf_cmd {
	BPF_MAP_CREATE = 1000,
	BPF_NO_SUCH_COMMAND = 7,
};

u64 out[24];
char name[16];

SEC("raw_tp")
int fields(u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct___other *other = (void *)task;

	out[0] = bpf_core_field_offset(task->pid);
	out[1] = bpf_core_field_size(task->comm);
	out[2] = bpf_core_field_exists(task->tgid);
	out[3] = bpf_core_field_exists(other->no_such_member);
	out[4] = BPF_CORE_READ_BITFIELD_PROBED(task, in_execve);
	out[5] = BPF_CORE_READ(task, real_parent, group_leader, pid);
	bpf_core_read_str(name, sizeof(name), &task->comm);
	out[6] = BPF_CORE_READ_BITFIELD(task, no_cgroup_migration);
	return 0;
}

SEC("raw_tp")
int types(u64 *ctx)
{
	out[8] = bpf_core_type_exists(struct task_struct);
	out[9] = bpf_core_type_exists(struct no_such_struct);
	out[10] = bpf_core_type_size(struct task_struct);
	out[11] = bpf_core_type_id_kernel(struct task_struct);
	out[12] = bpf_core_type_id_local(struct task_struct);
	out[13] = bpf_core_enum_value_exists(enum bpf_cmd, BPF_MAP_CREATE);
	out[14] = bpf_core_enum_value_exists(enum bpf_cmd, BPF_NO_SUCH_COMMAND);
	out[15] = bpf_core_enum_value(enum bpf_cmd, BPF_MAP_CREATE);
#if __clang_major__ >= 15
	out[16] = __builtin_preserve_type_info(*(struct task_struct *)0, 2);
#endif
	return 0;
}

char _license[] SEC("license") = "GPL";
