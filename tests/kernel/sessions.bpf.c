// SPDX-License-Identifier: Apache-2.0
/*
 * Sessions that keep something from the entry of a call to its exit: several on one function, with
 * plain programs among them, on functions that call themselves, that sleep, that run on all CPUs.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define TRAIL_SIZE 64

u32 only_tid;
u32 only_tgid;

/* Counted by all programs below. */
u64 entries, exits, mismatches, stale_cookies, alone;

/* The order in which programs ran: the letter of each, upper case at the exit. */
u32 trail_used;
char trail[TRAIL_SIZE];

static __always_inline void note(char letter)
{
	u32 at = trail_used;

	if (at < TRAIL_SIZE) {
		trail[at] = letter;
		trail_used = at + 1;
	}
}

/*
 * At the entry the cookie must be 0 and becomes `value`; at the exit it must be `value` still. An
 * exit is alone, its cookie 0, where the kernel left out the program at the entry: it does that when
 * another thread of the CPU was stopped in the middle of the same program.
 */
static __always_inline void carry(u64 *ctx, u64 value)
{
	u64 *cookie = bpf_session_cookie(ctx);

	if (bpf_session_is_return(ctx)) {
		if (*cookie == value)
			__sync_fetch_and_add(&exits, 1);
		else if (*cookie)
			__sync_fetch_and_add(&mismatches, 1);
		else
			__sync_fetch_and_add(&alone, 1);
	} else {
		if (*cookie)
			__sync_fetch_and_add(&stale_cookies, 1);
		*cookie = value;
		__sync_fetch_and_add(&entries, 1);
	}
}

static __always_inline u64 argument(u64 *ctx, u32 number)
{
	u64 value = 0;

	bpf_get_func_arg(ctx, number, &value);
	return value;
}

static __always_inline bool is_my_thread(void)
{
	return (u32)bpf_get_current_pid_tgid() == only_tid;
}

static __always_inline bool is_my_process(void)
{
	return bpf_get_current_pid_tgid() >> 32 == only_tgid;
}

#define ORDERED(letter, upper)                                        \
	SEC("fsession/bpf_fentry_test1")                              \
	int session_##letter(u64 *ctx)                                \
	{                                                             \
		if (!is_my_thread())                                  \
			return 0;                                     \
		note(bpf_session_is_return(ctx) ? #upper[0] : #letter[0]); \
		carry(ctx, 0x1111111111111111ull * #letter[0]);       \
		return 0;                                             \
	}

ORDERED(a, A)
ORDERED(b, B)
ORDERED(c, C)

SEC("fentry/bpf_fentry_test1")
int plain_entry(u64 *ctx)
{
	if (is_my_thread())
		note('n');
	return 0;
}

SEC("fexit/bpf_fentry_test1")
int plain_exit(u64 *ctx)
{
	if (is_my_thread())
		note('X');
	return 0;
}

/* A session without a cookie shares the function with those that have one. */
SEC("fsession/bpf_fentry_test1")
int session_without_cookie(u64 *ctx)
{
	if (is_my_thread())
		note(bpf_session_is_return(ctx) ? 'W' : 'w');
	return 0;
}

static __noinline u64 *cookie_of(u64 *ctx)
{
	return bpf_session_cookie(ctx);
}

static __noinline bool is_exit(u64 *ctx)
{
	return bpf_session_is_return(ctx);
}

/* Both questions asked in subprograms. */
SEC("fsession/bpf_fentry_test1")
int session_in_subprogram(u64 *ctx)
{
	u64 *cookie;

	if (!is_my_thread())
		return 0;
	cookie = cookie_of(ctx);
	if (!cookie)
		return 0;
	if (is_exit(ctx)) {
		if (*cookie != 0xfeedface)
			mismatches++;
		exits++;
	} else {
		stale_cookies += *cookie != 0;
		*cookie = 0xfeedface;
		entries++;
	}
	return 0;
}

SEC("fsession.s/bpf_fentry_test1")
int session_sleepable(u64 *ctx)
{
	char byte;

	if (!is_my_thread())
		return 0;
	bpf_copy_from_user(&byte, 1, (void *)1); /* only sleepable programs may */
	carry(ctx, 0x51ee9);
	return 0;
}

/* The cookie of the attachment is one thing, that of the call another. */
u64 attach_cookie[2];

SEC("fsession/bpf_fentry_test1")
int session_attach_cookie(u64 *ctx)
{
	if (!is_my_thread())
		return 0;
	if (bpf_session_is_return(ctx))
		attach_cookie[1] = bpf_get_attach_cookie(ctx);
	else
		attach_cookie[0] = bpf_get_attach_cookie(ctx);
	carry(ctx, 77);
	return 0;
}

/* Calls itself for each level of nested epoll descriptors; the level is its last argument. */
u64 deepest;

SEC("fsession/ep_loop_check_proc")
int session_recursive(u64 *ctx)
{
	s64 words = bpf_get_func_arg_cnt(ctx);
	u64 level;

	if (!is_my_thread())
		return 0;
	level = (u32)argument(ctx, words - 1);
	if (level > deepest)
		deepest = level;
	carry(ctx, 1000 + level);
	return 0;
}

/* A short function with an argument of the caller's choice: getpgid(N) looks up process N. */
SEC("fsession/find_task_by_vpid")
int session_lookup(u64 *ctx)
{
	u64 number = (u32)argument(ctx, 0);

	if (is_my_process() && number >= 0x100000)
		carry(ctx, number ^ 0x5e5510000ull);
	return 0;
}

/* Sleeps as long as its first argument says; a signal makes it return an error. */
u64 interrupted;

SEC("fsession/hrtimer_nanosleep")
int session_sleep(u64 *ctx)
{
	u64 result = 0;

	if (!is_my_process())
		return 0;
	carry(ctx, argument(ctx, 0));
	bpf_get_func_ret(ctx, &result);
	if (bpf_session_is_return(ctx) && result)
		__sync_fetch_and_add(&interrupted, 1);
	return 0;
}

/* Blocks until somebody writes. */
SEC("fsession/eventfd_read")
int session_blocked(u64 *ctx)
{
	if (is_my_process())
		carry(ctx, argument(ctx, 0) ^ argument(ctx, 1));
	return 0;
}

/* For the target to be chosen at attach. */
SEC("fsession")
int session_anywhere(u64 *ctx)
{
	carry(ctx, 0xa11);
	return 0;
}

SEC("fsession/do_exit")
int session_noreturn(u64 *ctx)
{
	return 0;
}

/* Loaded to be run by hand: a test run of it makes the kernel call bpf_fentry_test1 to 8. */
SEC("fentry/bpf_fentry_test1")
int poke(u64 *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
