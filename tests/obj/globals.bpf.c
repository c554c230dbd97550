// SPDX-License-Identifier: Apache-2.0
/* Variables in every section that has some. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct point {
	s16 x, y;
};

u64 counter;                                  /* .bss */
static u32 hidden_count;
struct point points[3];

s32 level = -5;                               /* .data */
char text[8] = "text";
static struct point origin = { 3, -4 };

const volatile u32 limit = 1000;              /* .rodata */
static const volatile u16 table[4] = { 1, 2, 3, 4 };

u64 apart SEC(".data.apart") = 41;
const u32 fixed SEC(".rodata.fixed") = 7;
u8 last SEC(".data.apart") = 9;

SEC("raw_tp")
int use(void *ctx)
{
	static u32 calls = 1; /* of the function */
	u32 index = bpf_get_smp_processor_id() & 3;

	counter += table[index] + limit + fixed;
	hidden_count += level;
	points[2].y = origin.y;
	origin.x++;
	calls *= 3;
	apart += last;
	text[index] = calls;
	bpf_printk("%d", hidden_count);
	return points[1].x;
}

char _license[] SEC("license") = "Dual BSD/GPL";
u32 _version SEC("version") = 0x60c00;
