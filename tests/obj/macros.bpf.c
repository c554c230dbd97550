// SPDX-License-Identifier: Apache-2.0
/* Macros that our headers and libbpf's have in common: the same results by both. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

u64 out[8];
pid_t parent;
char name[16], text[16];

SEC("raw_tp")
int use(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf(), *raw = task;

	barrier_var(raw);
	barrier();
	out[0] = bpf_htons(0x1234);
	out[1] = bpf_ntohl(0x12345678);
	out[2] = bpf_cpu_to_be64(3);
	out[3] = BPF_PROBE_READ(raw, real_parent) != 0;
	BPF_CORE_READ_INTO(&parent, raw, real_parent, tgid);
	BPF_CORE_READ_STR_INTO(&name, raw, group_leader, comm);
	out[5] = bpf_core_field_exists(struct task_struct, pid);
	out[6] = bpf_core_field_offset(struct task_struct, comm) - bpf_core_field_offset(raw->comm);
	out[7] = BPF_CORE_READ_USER(raw, real_parent, pid); /* no user address: 0 */
	BPF_SNPRINTF(text, sizeof(text), "%d-%s", 12, name);
	bpf_printk("no value");
	bpf_printk("%d %d %d %d %d", 1, 2, 3, 4, 5);
	bpf_printk("%d%d%d%d%d%d%d%d%d%d%d%s", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, name);
	return 0;
}

char _license[] SEC("license") = "GPL";
