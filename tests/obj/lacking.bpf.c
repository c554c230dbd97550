// SPDX-License-Identifier: Apache-2.0
/* It needs a symbol that no kernel has. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

extern const void fsession_no_such_strong_symbol __ksym;

u64 address;

SEC("raw_tp")
int needs(void *ctx)
{
	address = (u64)&fsession_no_such_strong_symbol;
	return 0;
}

char _license[] SEC("license") = "GPL";
