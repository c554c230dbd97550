// SPDX-License-Identifier: Apache-2.0
/* What the kernel has to give: configuration, symbols, functions. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;
extern bool LINUX_HAS_SYSCALL_WRAPPER __kconfig;
extern u64 CONFIG_HZ __kconfig;
extern enum libbpf_tristate CONFIG_NO_SUCH_TRISTATE __kconfig __weak;
extern char CONFIG_BPF __kconfig;
extern const char CONFIG_NO_SUCH_TEXT[20] __kconfig __weak;

extern const void bpf_prog_put __ksym;                 /* an address */
extern const void fsession_no_such_symbol __ksym __weak;
extern const int bpf_prog_active __ksym;               /* per CPU, by its type */
extern const int fsession_no_such_variable __ksym __weak;

extern struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym;
extern void bpf_task_release___flavored(struct task_struct *task) __ksym __weak;
extern int fsession_no_such_function(int, void *) __ksym __weak;

u64 seen[16];

SEC("raw_tp")
int kconfig(u64 *ctx)
{
	seen[0] = LINUX_KERNEL_VERSION;
	seen[1] = LINUX_HAS_SYSCALL_WRAPPER;
	seen[2] = CONFIG_HZ;
	seen[3] = CONFIG_NO_SUCH_TRISTATE;
	seen[4] = CONFIG_BPF;
	seen[5] = CONFIG_NO_SUCH_TEXT[3];
	return 0;
}

SEC("raw_tp")
int symbols(u64 *ctx)
{
	seen[7] = (u64)&bpf_prog_put;
	seen[8] = (u64)&fsession_no_such_symbol;
	seen[9] = &fsession_no_such_variable != 0;
	return 0;
}

SEC("raw_tp") /* not loaded where the kernel's symbols have no variables */
int per_cpu(u64 *ctx)
{
	const int *active = bpf_this_cpu_ptr(&bpf_prog_active);

	seen[6] = *active;
	return 0;
}

SEC("tp_btf/sched_switch")
int functions(u64 *ctx)
{
	struct task_struct *task = bpf_task_acquire(bpf_get_current_task_btf());

	if (task && &bpf_task_release___flavored)
		bpf_task_release___flavored(task);
	if (&fsession_no_such_function)
		seen[10] = fsession_no_such_function(1, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
