/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BPF_PROG(): a program attached to a function, with the function's own arguments.
 *
 *     SEC("fsession/icmp_rcv")
 *     int BPF_PROG(name, struct sk_buff *skb) { ... }
 *
 * The context is an array of 8-byte slots, one for each argument, and behind them the return
 * value: fexit and fsession programs may name it as one more argument. Inside the body the context
 * itself is `ctx`. At most 12 arguments. A struct argument of 9 to 16 bytes takes two slots; take it
 * as two arguments, or use bpf_get_func_arg().
 */
#ifndef FSESSION_BPF_TRACING_H
#define FSESSION_BPF_TRACING_H

#define __PROG_PASTE(a, b) a##b
#define __PROG_CALL(name, n) __PROG_PASTE(name, n)
#define __PROG_COUNT(...) \
	__PROG_PICK(_, ##__VA_ARGS__, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define __PROG_PICK(_, a, b, c, d, e, f, g, h, i, j, k, l, m, n, ...) n

#define __PROG_SLOTS0() ctx
#define __PROG_SLOTS1() __PROG_SLOTS0(), (void *)ctx[0]
#define __PROG_SLOTS2() __PROG_SLOTS1(), (void *)ctx[1]
#define __PROG_SLOTS3() __PROG_SLOTS2(), (void *)ctx[2]
#define __PROG_SLOTS4() __PROG_SLOTS3(), (void *)ctx[3]
#define __PROG_SLOTS5() __PROG_SLOTS4(), (void *)ctx[4]
#define __PROG_SLOTS6() __PROG_SLOTS5(), (void *)ctx[5]
#define __PROG_SLOTS7() __PROG_SLOTS6(), (void *)ctx[6]
#define __PROG_SLOTS8() __PROG_SLOTS7(), (void *)ctx[7]
#define __PROG_SLOTS9() __PROG_SLOTS8(), (void *)ctx[8]
#define __PROG_SLOTS10() __PROG_SLOTS9(), (void *)ctx[9]
#define __PROG_SLOTS11() __PROG_SLOTS10(), (void *)ctx[10]
#define __PROG_SLOTS12() __PROG_SLOTS11(), (void *)ctx[11]
#define __PROG_SLOTS13() __PROG_SLOTS12(), (void *)ctx[12]

#define BPF_PROG(name, args...)                                              \
	name(unsigned long long *ctx);                                       \
	static inline __attribute__((always_inline)) typeof(name(0))         \
	__body_of_##name(unsigned long long *ctx, ##args);                   \
	typeof(name(0)) name(unsigned long long *ctx)                        \
	{                                                                    \
		_Pragma("GCC diagnostic push")                               \
		_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")       \
		return __body_of_##name(                                     \
			__PROG_CALL(__PROG_SLOTS, __PROG_COUNT(args))());    \
		_Pragma("GCC diagnostic pop")                                \
	}                                                                    \
	static inline __attribute__((always_inline)) typeof(name(0))         \
	__body_of_##name(unsigned long long *ctx, ##args)

#ifndef BPF_OK
#define BPF_OK 0
#endif

#endif
