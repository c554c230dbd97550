// SPDX-License-Identifier: Apache-2.0
/*
 * What a session is told of a call: its arguments and its return value, read from the context and
 * by helpers, on both sides. One program for each number of argument words, each on a function that
 * the tests can call.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define WORDS 12

u32 only_tid;

/* What was seen: [0] at the entry, [1] at the exit. The return value stands behind the words. */
u32 calls[2];
u64 direct[2 * (WORDS + 1)];
u64 by_helper[2 * WORDS];
u64 returned[2];
s64 returned_status[2];
s64 words[2];
s64 beyond[2];
u64 attach_cookie[2];

/*
 * The first call of the thread: what follows it is none of the test's. `side` is a constant, here
 * and below: the verifier does not know that a bool of the kernel is 0 or 1.
 */
static __always_inline bool is_mine(u32 side)
{
	return (u32)bpf_get_current_pid_tgid() == only_tid && !calls[side];
}

static __always_inline void ask_helpers(u64 *ctx, u32 side, u32 count)
{
	u64 value;

	words[side] = bpf_get_func_arg_cnt(ctx);
	for (u32 i = 0; i < WORDS; i++) {
		if (i >= count)
			break;
		value = 0;
		bpf_get_func_arg(ctx, i, &value);
		by_helper[side * WORDS + i] = value;
	}
	beyond[side] = bpf_get_func_arg(ctx, count, &value);
	value = 0x5a5a5a5a;
	returned_status[side] = bpf_get_func_ret(ctx, &value);
	returned[side] = value;
	attach_cookie[side] = bpf_get_attach_cookie(ctx);
	__sync_fetch_and_add(&calls[side], 1);
}

#define READ(side, count, readable, hidden)                                 \
	do {                                                                \
		if (!is_mine(side))                                         \
			return 0;                                           \
		_Pragma("unroll") for (int i = 0; i < readable; i++)        \
			if (!((hidden) & 1 << i))                                    \
				direct[side * (WORDS + 1) + i] = ctx[i];    \
		ask_helpers(ctx, side, count);                              \
	} while (0)

#define NONE 0

/*
 * `readable` slots of the context may be read, the return value's is the last; those with a bit in
 * `hidden` may not.
 */
#define SESSION_BUT(name, target, count, readable, hidden) \
	SEC("fsession/" target)                         \
	int name(u64 *ctx)                              \
	{                                               \
		if (bpf_session_is_return(ctx))         \
			READ(1, count, readable, hidden); \
		else                                    \
			READ(0, count, readable, hidden); \
		return 0;                               \
	}
#define SESSION(name, target, count, readable) SESSION_BUT(name, target, count, readable, NONE)

SESSION(words_1, "bpf_fentry_test1", 1, 2)
SESSION(words_2, "bpf_fentry_test2", 2, 3)
SESSION(words_3, "bpf_fentry_test3", 3, 4)
SESSION(words_4, "bpf_fentry_test4", 4, 5)
SESSION(words_5, "bpf_fentry_test5", 5, 6)
SESSION(words_6, "bpf_fentry_test6", 6, 7)
SESSION(words_7, "do_futex", 7, 8)
SESSION(words_8, "do_sock_getsockopt", 8, 9)
SESSION(words_9, "do_mmap", 9, 10)
/* Pointers to a function and to a pointer: before Linux 7.2 the context does not give them. */
SESSION_BUT(words_10, "ip_make_skb", 10, 11, 1 << 2 | 1 << 7)
SESSION(words_11, "rt_fill_info", 11, 12)
SESSION(words_12, "tcp_v4_send_ack", 12, 12) /* void: there is no 13th slot */

/* A pointer, a void function, a struct of 4 bytes by value, and one of 16 bytes. */
SESSION(pointer, "bpf_fentry_test8", 1, 2)
SESSION(void_function, "set_user_nice", 2, 2)
SESSION(small_struct, "from_kuid_munged", 2, 3)
SESSION(wide_struct, "ip_setsockopt", 6, 7)

/* The same without looking at the context: what a multi program may do. */
static __always_inline void ask_all(u64 *ctx, u32 side)
{
	s64 count = bpf_get_func_arg_cnt(ctx);

	if (is_mine(side))
		ask_helpers(ctx, side, count < 0 || count > WORDS ? WORDS : count);
}

SEC("fsession.multi/bpf_fentry_test*")
int many(u64 *ctx)
{
	if (bpf_session_is_return(ctx))
		ask_all(ctx, 1);
	else
		ask_all(ctx, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
