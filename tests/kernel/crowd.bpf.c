// SPDX-License-Identifier: Apache-2.0
/* More sessions than one function takes. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

u64 runs;

#define ONE(n)                                 \
	SEC("fsession/bpf_fentry_test1")       \
	int crowd_##n(u64 *ctx)                \
	{                                      \
		*bpf_session_cookie(ctx) = n;  \
		__sync_fetch_and_add(&runs, 1); \
		return 0;                      \
	}

ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5) ONE(6) ONE(7) ONE(8) ONE(9)
ONE(10) ONE(11) ONE(12) ONE(13) ONE(14) ONE(15) ONE(16) ONE(17) ONE(18) ONE(19)

char _license[] SEC("license") = "GPL";
