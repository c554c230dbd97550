// SPDX-License-Identifier: Apache-2.0
/* Functions of a module: its BTF stands on that of vmlinux. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

u32 entries, exits, mismatches;
u64 carrier;
s64 result = -1;

/* int dummy_change_carrier(struct net_device *dev, bool new_carrier) */
SEC("fsession/dummy:dummy_change_carrier")
int in_module(u64 *ctx)
{
	u64 *cookie = bpf_session_cookie(ctx);

	if (!bpf_session_is_return(ctx)) {
		*cookie = ctx[0];
		carrier = (u8)ctx[1];
		entries++;
		return 0;
	}
	mismatches += *cookie != ctx[0];
	result = (s32)ctx[2];
	exits++;
	return 0;
}

/* A multi program asks for what it wants to know. */
SEC("fsession.multi/dummy:dummy_change_carrier")
int many_in_module(u64 *ctx)
{
	u64 *cookie = bpf_session_cookie(ctx);
	u64 device = 0, value = 0;

	bpf_get_func_arg(ctx, 0, &device);
	if (!bpf_session_is_return(ctx)) {
		*cookie = device;
		bpf_get_func_arg(ctx, 1, &value);
		carrier = (u8)value;
		entries++;
		return 0;
	}
	mismatches += *cookie != device;
	bpf_get_func_ret(ctx, &value);
	result = (s32)value;
	exits++;
	return 0;
}

char _license[] SEC("license") = "GPL";
