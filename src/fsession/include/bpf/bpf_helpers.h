/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a BPF program in C is written with: sections, maps, externs, helpers, bpf_printk().
 * Include "vmlinux.h" (or <linux/types.h>) first: it has the types.
 */
#ifndef FSESSION_BPF_HELPERS_H
#define FSESSION_BPF_HELPERS_H

#include "bpf_helper_defs.h"

/* The section of a program or variable: SEC("fsession/icmp_rcv"). */
#define SEC(name)                                                                   \
	_Pragma("GCC diagnostic push")                                              \
	_Pragma("GCC diagnostic ignored \"-Wignored-attributes\"")                  \
	__attribute__((section(name), used))                                        \
	_Pragma("GCC diagnostic pop")

/* Members of a map definition in SEC(".maps"). */
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name
#define __array(name, value) typeof(value) *name[]
/* A number of 64 bits (map_extra): an array can't be that long, an enumerator can. */
#define __ulong(name, value) enum { __ULONG_NAME(__ulong_, __COUNTER__) = (value) } name
#define __ULONG_NAME(stem, n) __ULONG_PASTE(stem, n)
#define __ULONG_PASTE(stem, n) stem##n

/* Externs that the loader fills: functions and symbols of the kernel, its configuration. */
#define __ksym __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))

#ifndef __weak
#define __weak __attribute__((weak))
#endif
#ifndef __hidden
#define __hidden __attribute__((visibility("hidden")))
#endif
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#ifndef __kptr
#define __kptr __attribute__((btf_type_tag("kptr")))
#define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))
#define __percpu_kptr __attribute__((btf_type_tag("percpu_kptr")))
#endif

#ifndef NULL
#define NULL ((void *)0)
#endif
#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#ifndef container_of
#define container_of(pointer, type, member) \
	((type *)((char *)(pointer) - offsetof(type, member)))
#endif

/* The compiler forgets what it knows of memory, or of one variable. */
#ifndef barrier
#define barrier() asm volatile("" ::: "memory")
#endif
#ifndef barrier_var
#define barrier_var(variable) asm volatile("" : "+r"(variable))
#endif

/* Whether a weak __ksym is there. */
#define bpf_ksym_exists(symbol) (!!(symbol))

/* Leave for another program of a prog array; the index is a constant. */
#define bpf_tail_call_static(ctx, map, slot) bpf_tail_call(ctx, map, slot)

/* How a map is pinned when it is created. */
enum libbpf_pin_type {
	LIBBPF_PIN_NONE,
	LIBBPF_PIN_BY_NAME, /* below /sys/fs/bpf, under the map's name */
};

/* State of a kconfig extern of a tristate option. */
enum libbpf_tristate {
	TRI_NO = 0,
	TRI_YES = 1,
	TRI_MODULE = 2,
};

/*
 * A line in the kernel's trace_pipe. Up to 3 values go by bpf_trace_printk(), more (up to 12)
 * by bpf_trace_vprintk(), Linux 5.16.
 */
#define bpf_printk(fmt, ...) \
	__PRINTK_PICK(_, ##__VA_ARGS__, v, v, v, v, v, v, v, v, v, 3, 2, 1, 0)(fmt, ##__VA_ARGS__)
#define __PRINTK_PICK(_, a, b, c, d, e, f, g, h, i, j, k, l, n, ...) __printk_##n
#define __printk_plain(fmt, ...)                                         \
	({                                                               \
		static const char __printk_fmt[] = fmt;                  \
		bpf_trace_printk(__printk_fmt, sizeof(__printk_fmt), ##__VA_ARGS__); \
	})
#define __printk_0 __printk_plain
#define __printk_1 __printk_plain
#define __printk_2 __printk_plain
#define __printk_3 __printk_plain
#define __printk_v(fmt, ...)                                             \
	({                                                               \
		static const char __printk_fmt[] = fmt;                  \
		unsigned long long __printk_data[__U64_COUNT(__VA_ARGS__)]; \
		__U64_STORE(__printk_data, __VA_ARGS__);                 \
		bpf_trace_vprintk(__printk_fmt, sizeof(__printk_fmt),    \
				  __printk_data, sizeof(__printk_data)); \
	})

/*
 * Up to 12 arguments as 64-bit numbers, stored one by one: an initialiser with the address of a
 * variable would become data with a relocation, which nobody applies.
 */
#define __U64_STORE(array, ...) \
	__U64_PICK(__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)(array, 0, __VA_ARGS__)
#define __U64_COUNT(...) \
	__U64_NUMBER(__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define __U64_PICK(a, b, c, d, e, f, g, h, i, j, k, l, n, ...) __u64_##n
#define __U64_NUMBER(a, b, c, d, e, f, g, h, i, j, k, l, n, ...) n
#define __u64_1(array, at, x) (array)[at] = (unsigned long long)(x)
#define __u64_2(array, at, x, ...) \
	__u64_1(array, at, x); __u64_1(array, at + 1, __VA_ARGS__)
#define __u64_3(array, at, x, ...) \
	__u64_1(array, at, x); __u64_2(array, at + 1, __VA_ARGS__)
#define __u64_4(array, at, x, ...) \
	__u64_1(array, at, x); __u64_3(array, at + 1, __VA_ARGS__)
#define __u64_5(array, at, x, ...) \
	__u64_1(array, at, x); __u64_4(array, at + 1, __VA_ARGS__)
#define __u64_6(array, at, x, ...) \
	__u64_1(array, at, x); __u64_5(array, at + 1, __VA_ARGS__)
#define __u64_7(array, at, x, ...) \
	__u64_1(array, at, x); __u64_6(array, at + 1, __VA_ARGS__)
#define __u64_8(array, at, x, ...) \
	__u64_1(array, at, x); __u64_7(array, at + 1, __VA_ARGS__)
#define __u64_9(array, at, x, ...) \
	__u64_1(array, at, x); __u64_8(array, at + 1, __VA_ARGS__)
#define __u64_10(array, at, x, ...) \
	__u64_1(array, at, x); __u64_9(array, at + 1, __VA_ARGS__)
#define __u64_11(array, at, x, ...) \
	__u64_1(array, at, x); __u64_10(array, at + 1, __VA_ARGS__)
#define __u64_12(array, at, x, ...) \
	__u64_1(array, at, x); __u64_11(array, at + 1, __VA_ARGS__)

/* Text into a buffer, with up to 12 values. */
#define BPF_SNPRINTF(out, out_size, fmt, ...)                                   \
	({                                                                      \
		static const char __snprintf_fmt[] = fmt;                       \
		unsigned long long __snprintf_data[__U64_COUNT(__VA_ARGS__)]; \
		__U64_STORE(__snprintf_data, __VA_ARGS__); \
		bpf_snprintf(out, out_size, __snprintf_fmt, __snprintf_data,    \
			     sizeof(__snprintf_data));                          \
	})

/* A line of an iterator's file, with up to 12 values. */
#define BPF_SEQ_PRINTF(seq, fmt, ...)                                           \
	({                                                                      \
		static const char __seq_fmt[] = fmt;                            \
		unsigned long long __seq_data[__U64_COUNT(__VA_ARGS__)]; \
		__U64_STORE(__seq_data, __VA_ARGS__); \
		bpf_seq_printf(seq, __seq_fmt, sizeof(__seq_fmt), __seq_data,   \
			       sizeof(__seq_data));                             \
	})

#endif
