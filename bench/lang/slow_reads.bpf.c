// SPDX-License-Identifier: Apache-2.0
#include "common.h"

u64 limit_ns = 10000;

struct event {
	u64 number;
	char comm[16], name[64];
	u64 asked;
	s64 got;
	u64 took_ns;
};

SEC("fsession/vfs_read")
int BPF_PROG(read, struct file *file, char *buf, u64 count, loff_t *pos, ssize_t ret)
{
	u64 *cookie = bpf_session_cookie(ctx), took;
	char comm[16] = {};
	struct event *e;

	if (!bpf_session_is_return(ctx)) {
		*cookie = bpf_ktime_get_ns();
		return 0;
	}
	took = bpf_ktime_get_ns() - *cookie;
	if (took < limit_ns)
		return 0;
	bpf_get_current_comm(comm, sizeof(comm));
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->number = 0;
	e->comm[0] = 0;
	bpf_probe_read_kernel_str(e->comm, sizeof(e->comm), comm);
	e->name[0] = 0;
	bpf_probe_read_kernel_str(e->name, sizeof(e->name), file->f_path.dentry->d_name.name);
	e->asked = count;
	e->got = ret;
	e->took_ns = took;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
