// SPDX-License-Identifier: Apache-2.0
#include "common.h"

struct event {
	u64 number;
	char sender[16], receiver[16];
	s32 pid, signal;
};

SEC("fentry/send_signal_locked")
int BPF_PROG(send, int sig, void *info, struct task_struct *t)
{
	char comm[16] = {};
	struct event *e;

	bpf_get_current_comm(comm, sizeof(comm));
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->number = 0;
	e->sender[0] = 0;
	bpf_probe_read_kernel_str(e->sender, sizeof(e->sender), comm);
	e->receiver[0] = 0;
	bpf_probe_read_kernel_str(e->receiver, sizeof(e->receiver), t->comm);
	e->pid = t->tgid;
	e->signal = sig;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
