// SPDX-License-Identifier: Apache-2.0
#include "common.h"

struct name {
	char text[64];
};

MAP(BPF_MAP_TYPE_HASH, asked, u32, struct name, 4096);

struct event {
	u64 number;
	char comm[16], name[64];
	s64 error;
};

SEC("fsession/do_sys_openat2")
int BPF_PROG(open_, int dfd, const char *filename, void *how, int ret)
{
	u32 thread = bpf_get_current_pid_tgid();
	struct name *name, text = {};
	char comm[16] = {};
	struct event *e;

	if (!bpf_session_is_return(ctx)) {
		if (bpf_probe_read_kernel_str(text.text, sizeof(text.text), filename) < 0)
			bpf_probe_read_user_str(text.text, sizeof(text.text), filename);
		bpf_map_update_elem(&asked, &thread, &text, 0);
		return 0;
	}
	name = bpf_map_lookup_elem(&asked, &thread);
	if (name && ret < 0) {
		bpf_get_current_comm(comm, sizeof(comm));
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
		if (e) {
			e->number = 0;
			e->comm[0] = 0;
			bpf_probe_read_kernel_str(e->comm, sizeof(e->comm), comm);
			e->name[0] = 0;
			bpf_probe_read_kernel_str(e->name, sizeof(e->name), name->text);
			e->error = ret;
			bpf_ringbuf_submit(e, 0);
		}
	}
	bpf_map_delete_elem(&asked, &thread);
	return 0;
}
