/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's types that the suite's programs use, with the members they use. Offsets come from
 * the kernel that loads the object (CO-RE), so that one object serves all of them.
 */
#ifndef KERNEL_SUITE_VMLINUX_H
#define KERNEL_SUITE_VMLINUX_H

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
typedef int pid_t;

enum { false = 0, true = 1 };

/* enum bpf_map_type and the flags of map operations, include/uapi/linux/bpf.h */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LRU_PERCPU_HASH = 10,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2 };
enum { BPF_F_NO_PREALLOC = 1 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct mm_struct;

struct task_struct {
	int exit_code;
	struct mm_struct *mm;
	unsigned int in_execve : 1;
	unsigned int no_cgroup_migration : 1;
	pid_t pid;
	pid_t tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	char comm[16];
};

struct sk_buff {
	unsigned int len;
};

struct xdp_md {
	__u32 data;
	__u32 data_end;
};

#pragma clang attribute pop

extern bool bpf_session_is_return(void *ctx) __attribute__((section(".ksyms"), weak));
extern __u64 *bpf_session_cookie(void *ctx) __attribute__((section(".ksyms"), weak));

#endif
