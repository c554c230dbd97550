// SPDX-License-Identifier: Apache-2.0
/*
 * What the engine's figures are measured with: a cheap function with a patchable entry, the same
 * behind a trampoline in C with hooks that do nothing, loops that call them and that run programs.
 */
#define NOINLINE __attribute__((noinline, noclone))
#define NOT_PATCHED __attribute__((patchable_function_entry(0, 0)))

NOINLINE long cheap(long a, long b)
{
	return a * 3 + b;
}

NOT_PATCHED NOINLINE void on_enter(long *arguments)
{
	__asm__ volatile("" : : "r"(arguments) : "memory");
}

NOT_PATCHED NOINLINE void on_leave(long *arguments, long result)
{
	__asm__ volatile("" : : "r"(arguments), "r"(result) : "memory");
}

NOT_PATCHED NOINLINE long body_by_hand(long a, long b)
{
	return a * 3 + b;
}

/* Entered by a jump, as a patched entry does it. */
__attribute__((used)) NOT_PATCHED NOINLINE long trampoline_in_c(long a, long b)
{
	long arguments[2] = {a, b}, result;

	on_enter(arguments);
	result = body_by_hand(arguments[0], arguments[1]);
	on_leave(arguments, result);
	return result;
}

long by_hand(long a, long b);
#if defined(__x86_64__)
__asm__(".pushsection .text\n.globl by_hand\nby_hand: jmp trampoline_in_c\n.popsection");
#else
__asm__(".pushsection .text\n.globl by_hand\nby_hand: b trampoline_in_c\n.popsection");
#endif

NOT_PATCHED long loop_cheap(long count)
{
	long sum = 0;

	while (count--)
		sum += cheap(count, sum);
	return sum;
}

NOT_PATCHED long loop_by_hand(long count)
{
	long sum = 0;

	while (count--)
		sum += by_hand(count, sum);
	return sum;
}

NOT_PATCHED long loop_program(long count, unsigned long (*program)(void *), void *context)
{
	long sum = 0;

	while (count--)
		sum += program(context);
	return sum;
}

#ifdef DRIVER
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

volatile long sink;

/* For other tracers: waits for a line, calls COUNT times, prints nanoseconds of a call. */
int main(int argc, char **argv)
{
	long count = atol(argv[argc - 1]);
	struct timespec from, to;

	puts("ready");
	fflush(stdout);
	getchar();
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	sink = loop_cheap(count);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	printf("%f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / count);
	return 0;
}
#endif
