// SPDX-License-Identifier: Apache-2.0
/*
 * What an object file may have besides sessions: maps of each kind, global variables, the kernel's
 * configuration, symbols and functions, and reads that fit themselves to the kernel's types.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

u32 only_tid;

static __always_inline bool is_mine(void)
{
	return (u32)bpf_get_current_pid_tgid() == only_tid;
}

/* Global variables, one of each place and some of each shape. */
struct shape {
	u8 small;
	s16 middle;
	u64 large;
	char text[8];
	struct {
		s32 x, y;
	} points[2];
};

const volatile u32 factor = 3;         /* .rodata */
volatile s64 product = -1;             /* .data */
u64 zeroed;                            /* .bss */
struct shape shape = {.small = 200, .middle = -300, .text = "abc", .points = {{1, -1}, {2, -2}}};
u64 apart SEC(".data.apart") = 41;

SEC("fsession/bpf_fentry_test1")
int globals(u64 *ctx)
{
	if (!is_mine() || !bpf_session_is_return(ctx))
		return 0;
	product = (s64)factor * shape.middle;
	zeroed += 1;
	apart += factor;
	shape.large = ctx[1];
	shape.points[1].y = shape.small;
	return 0;
}

/* Maps. */
#define MAP(map_name, map_type, entries, ktype, vtype)  \
	struct {                                        \
		__uint(type, map_type);                 \
		__uint(max_entries, entries);           \
		__type(key, ktype);                     \
		__type(value, vtype);                   \
	} map_name SEC(".maps")

struct pair {
	u32 left;
	u32 right;
};

MAP(hash, BPF_MAP_TYPE_HASH, 16, struct pair, u64);
MAP(array, BPF_MAP_TYPE_ARRAY, 4, u32, struct pair);
MAP(percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, 16, u32, u64);
MAP(percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, 2, u32, u64);
MAP(lru_hash, BPF_MAP_TYPE_LRU_HASH, 16, u32, u64);
MAP(lru_percpu_hash, BPF_MAP_TYPE_LRU_PERCPU_HASH, 16, u32, u64);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, 4);
	__uint(value_size, 8 * 32);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} per_task SEC(".maps");

s64 stack_id, perf_status;

SEC("fsession/bpf_fentry_test1")
int maps(u64 *ctx)
{
	struct pair pair = {5, 6}, *slot;
	u32 key = 1;
	u64 value = 70, *found;

	if (!is_mine() || bpf_session_is_return(ctx))
		return 0;
	bpf_map_update_elem(&hash, &pair, &value, BPF_ANY);
	slot = bpf_map_lookup_elem(&array, &key);
	if (slot)
		slot->right += slot->left;
	bpf_map_update_elem(&percpu_hash, &key, &value, BPF_ANY);
	found = bpf_map_lookup_elem(&percpu_array, &key);
	if (found)
		*found += 1;
	bpf_map_update_elem(&lru_hash, &key, &value, BPF_ANY);
	bpf_map_update_elem(&lru_percpu_hash, &key, &value, BPF_ANY);
	return 0;
}

SEC("fsession/bpf_fentry_test1")
int maps_of_events(u64 *ctx)
{
	u64 value = 70;

	if (!is_mine() || bpf_session_is_return(ctx))
		return 0;
	stack_id = bpf_get_stackid(ctx, &stacks, 0);
	perf_status = bpf_perf_event_output(ctx, &perf_events, 0, &value, sizeof(value));
	return 0;
}

SEC("fsession/bpf_fentry_test1")
int task_storage(u64 *ctx)
{
	struct task_struct *task;
	u64 *found;

	if (!is_mine() || bpf_session_is_return(ctx))
		return 0;
	task = bpf_get_current_task_btf();
	found = bpf_task_storage_get(&per_task, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (found)
		*found += 9;
	return 0;
}

struct record {
	u64 argument;
	u32 is_exit;
	u32 number;
};

u32 next_number, dropped;

SEC("fsession/bpf_fentry_test1")
int records(u64 *ctx)
{
	struct record *record;

	if (!is_mine())
		return 0;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		dropped++;
		return 0;
	}
	record->argument = ctx[0];
	record->is_exit = bpf_session_is_return(ctx);
	record->number = next_number++;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

SEC("fsession/bpf_fentry_test1")
int printing(u64 *ctx)
{
	if (!is_mine())
		return 0;
	if (bpf_session_is_return(ctx))
		bpf_printk("suite exit %d %d %d %d\n", 1, 2, 3, 4);
	else
		bpf_printk("suite entry %llx\n", 0xabcdefull);
	return 0;
}

/* A prog array: the program jumped to does not come back. */
int jump_target(u64 *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__uint(value_size, 4);
} jumps SEC(".maps");

u32 jumped, stayed;

SEC("fentry/bpf_fentry_test1")
int jump_target(u64 *ctx)
{
	jumped++;
	return 0;
}

SEC("fentry/bpf_fentry_test1")
int jumping(u64 *ctx)
{
	if (!is_mine())
		return 0;
	bpf_tail_call(ctx, &jumps, 1);
	stayed++;
	return 0;
}

/* The kernel's configuration, symbols and functions. */
enum tristate_value { IS_NO, IS_YES, IS_MODULE };

extern int LINUX_KERNEL_VERSION __kconfig;
extern u32 CONFIG_HZ __kconfig;
extern bool CONFIG_BPF_SYSCALL __kconfig __weak;
extern bool CONFIG_FSESSION_NO_SUCH_OPTION __kconfig __weak;

extern const int bpf_prog_active __ksym;              /* per CPU, typed */
extern const void jiffies_64 __ksym;                  /* an address */
extern const void fsession_no_such_symbol __ksym __weak;

extern struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;
extern void fsession_no_such_kfunc(void) __ksym __weak;

int version;
u32 hz;
bool has_syscall, has_nonsense;
u64 address, missing_address;
s32 prog_active = -1;
u32 acquired, called_nonsense;

SEC("fsession/bpf_fentry_test1")
int externs(u64 *ctx)
{
	const int *active;

	if (!is_mine() || bpf_session_is_return(ctx))
		return 0;
	version = LINUX_KERNEL_VERSION;
	hz = CONFIG_HZ;
	has_syscall = CONFIG_BPF_SYSCALL;
	has_nonsense = CONFIG_FSESSION_NO_SUCH_OPTION;
	address = (u64)&jiffies_64;
	missing_address = (u64)&fsession_no_such_symbol;
	active = bpf_this_cpu_ptr(&bpf_prog_active);
	prog_active = *active;
	return 0;
}

SEC("fsession/bpf_fentry_test1")
int kfuncs(u64 *ctx)
{
	struct task_struct *task;

	if (!is_mine() || bpf_session_is_return(ctx))
		return 0;
	if (&bpf_task_acquire && &bpf_task_release) {
		task = bpf_task_acquire(bpf_get_current_task_btf());
		if (task) {
			acquired = task->pid;
			bpf_task_release(task);
		}
	}
	if (&fsession_no_such_kfunc) {
		fsession_no_such_kfunc();
		called_nonsense = 1;
	}
	return 0;
}

/* CO-RE: the same names as in the kernel, other places; and names that are not there. */
struct task_struct___renamed {
	pid_t tgid;
	int no_such_member;
} __attribute__((preserve_access_index));

struct no_such_struct {
	int x;
} __attribute__((preserve_access_index));

struct list_head {
	struct list_head *next, *prev;
} __attribute__((preserve_access_index));

enum bpf_cmd {
	BPF_MAP_CREATE = 1000, /* 0 in the kernel */
	BPF_PROG_LOAD = 1005,  /* 5 */
	BPF_NO_SUCH_COMMAND = 7,
};

struct {
	u32 pid, tgid, parent_tgid, bits;
	u32 pid_offset, pid_size, exit_code_signed, pid_signed;
	u32 has_pid, has_nonsense, has_type, has_nonsense_type, type_size, list_size;
	u32 type_id, type_matches;
	u32 enum_value, has_enum_value, has_nonsense_value;
	char comm[16];
} core;

SEC("fsession/bpf_fentry_test1")
int relocated(u64 *ctx)
{
	struct task_struct *task;
	struct task_struct___renamed *renamed;

	if (!is_mine() || bpf_session_is_return(ctx))
		return 0;
	task = bpf_get_current_task_btf();
	renamed = (void *)task;
	core.pid = task->pid; /* a typed pointer: read at once */
	core.tgid = BPF_CORE_READ(renamed, tgid);
	core.parent_tgid = BPF_CORE_READ(task, real_parent, tgid);
	core.bits = BPF_CORE_READ_BITFIELD_PROBED(task, in_execve);
	core.pid_offset = bpf_core_field_offset(task->pid);
	core.pid_size = bpf_core_field_size(task->pid);
	core.pid_signed = __builtin_preserve_field_info(task->pid, 3);
	core.exit_code_signed = __builtin_preserve_field_info(task->exit_code, 3);
	core.has_pid = bpf_core_field_exists(task->pid);
	core.has_nonsense = bpf_core_field_exists(renamed->no_such_member);
	core.has_type = bpf_core_type_exists(struct task_struct);
	core.has_nonsense_type = bpf_core_type_exists(struct no_such_struct);
	core.type_size = bpf_core_type_size(struct task_struct);
	core.list_size = bpf_core_type_size(struct list_head);
	core.type_id = bpf_core_type_id_kernel(struct list_head);
#if __clang_major__ >= 15
	core.type_matches = __builtin_preserve_type_info(*(struct list_head *)0, 2);
#else
	core.type_matches = 1; /* older compilers can't ask */
#endif
	core.enum_value = bpf_core_enum_value(enum bpf_cmd, BPF_PROG_LOAD);
	core.has_enum_value = bpf_core_enum_value_exists(enum bpf_cmd, BPF_MAP_CREATE);
	core.has_nonsense_value = bpf_core_enum_value_exists(enum bpf_cmd, BPF_NO_SUCH_COMMAND);
	bpf_core_read_str(core.comm, sizeof(core.comm), &task->comm);
	return 0;
}

/* Refused by the verifier: it reads what may be null. */
SEC("fsession/bpf_fentry_test1")
int refused(u64 *ctx)
{
	u32 key = 1;
	struct pair *slot = bpf_map_lookup_elem(&array, &key);

	return slot->left; /* no test for null */
}

SEC("fentry/bpf_fentry_test1")
int poke(u64 *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
