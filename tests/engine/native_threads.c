// SPDX-License-Identifier: Apache-2.0
/* Threads of C that call a function which is traced, and check what it returns. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#define MOST 64

static atomic_int stop;
static atomic_long made, wrong;
static pthread_t threads[MOST];

/* Its entry is one nop, as clang makes it: it can be changed while threads run. */
long traced(long a, long b, double scale);

#if defined(__x86_64__)
#define ENTRY ".byte 0x0f, 0x1f, 0x44, 0, 0; jmp body"
#else
#define ENTRY "nop; b body"
#endif
__asm__(".pushsection .text; .balign 16; .globl traced; .type traced, %function; "
	"traced: " ENTRY "; .size traced, . - traced; .popsection");

__attribute__((used, visibility("hidden"))) long body(long a, long b, double scale)
{
	return a * 3 + b + (long)(scale * 8);
}

static void *work(void *number)
{
	long calls = 0, bad = 0, each = (long)number;

	setpriority(PRIO_PROCESS, 0, 15); /* this thread's: who attaches is to get on */
	while (!stop) {
		bad += traced(calls, each, 0.5) != calls * 3 + each + 4;
		calls++;
	}
	made += calls;
	wrong += bad;
	return 0;
}

int start(int count)
{
	stop = 0;
	made = wrong = 0;
	for (long at = 0; at < count; at++)
		if (pthread_create(&threads[at], 0, work, (void *)at))
			return -1;
	return 0;
}

long finish(int count)
{
	stop = 1;
	for (int at = 0; at < count; at++)
		pthread_join(threads[at], 0);
	return wrong;
}

long calls_made(void)
{
	return made;
}
