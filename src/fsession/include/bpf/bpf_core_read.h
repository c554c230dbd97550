/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and questions that the loader adjusts to the types of the running kernel (CO-RE).
 * The second arguments of the builtins are kinds of relocation, see enum bpf_core_relo_kind.
 */
#ifndef FSESSION_BPF_CORE_READ_H
#define FSESSION_BPF_CORE_READ_H

/* Of a field: its offset and size in bytes, whether it exists, whether it is signed. */
#define bpf_core_field_offset(field...) __builtin_preserve_field_info(__CORE_FIELD(field), 0)
#define bpf_core_field_size(field...) __builtin_preserve_field_info(__CORE_FIELD(field), 1)
#define bpf_core_field_exists(field...) __builtin_preserve_field_info(__CORE_FIELD(field), 2)
#define bpf_core_field_signed(field...) __builtin_preserve_field_info(__CORE_FIELD(field), 3)

/* Either a place, as in `task->pid`, or a type and a member of it. */
#define __CORE_FIELD(...) __CORE_PICK(__VA_ARGS__, __core_member, __core_place, )(__VA_ARGS__)
#define __CORE_PICK(a, b, n, ...) n
#define __core_place(place) place
#define __core_member(type, member) ((typeof(type) *)0)->member

/* Of a type: its id in the program's or the kernel's BTF, whether it exists or matches, its size. */
#define bpf_core_type_id_local(type) __builtin_btf_type_id(*(typeof(type) *)0, 0)
#define bpf_core_type_id_kernel(type) __builtin_btf_type_id(*(typeof(type) *)0, 1)
#define bpf_core_type_exists(type) __builtin_preserve_type_info(*(typeof(type) *)0, 0)
#define bpf_core_type_size(type) __builtin_preserve_type_info(*(typeof(type) *)0, 1)
#define bpf_core_type_matches(type) __builtin_preserve_type_info(*(typeof(type) *)0, 2)

/* Of an enumerator: whether it exists, and its value. */
#define bpf_core_enum_value_exists(type, value) \
	__builtin_preserve_enum_value(*(typeof(type) *)value, 0)
#define bpf_core_enum_value(type, value) __builtin_preserve_enum_value(*(typeof(type) *)value, 1)

#define bpf_core_read(dst, size, src) \
	bpf_probe_read_kernel(dst, size, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_str(dst, size, src) \
	bpf_probe_read_kernel_str(dst, size, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_user(dst, size, src) \
	bpf_probe_read_user(dst, size, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_user_str(dst, size, src) \
	bpf_probe_read_user_str(dst, size, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_cast(pointer, type) \
	((typeof(type) *)bpf_rdonly_cast((pointer), bpf_core_type_id_kernel(type)))
extern void *bpf_rdonly_cast(const void *obj, unsigned int btf_id) __attribute__((section(".ksyms"), weak));

/* BPF_CORE_READ(skb, dev, name): skb->dev->name, each arrow a read that may fail. */
#define BPF_CORE_READ(src, ...) __READ_VALUE(bpf_core_read, bpf_core_read, src, __VA_ARGS__)
#define BPF_CORE_READ_INTO(dst, src, ...) \
	__READ_INTO(bpf_core_read, bpf_core_read, dst, src, __VA_ARGS__)
#define BPF_CORE_READ_STR_INTO(dst, src, ...) \
	__READ_INTO(bpf_core_read, bpf_core_read_str, dst, src, __VA_ARGS__)

/* `step` reads the pointers on the way, `last` the value at its end. */
#define __READ_VALUE(step, last, src, ...)                                       \
	({                                                                       \
		typeof(__CORE_PATH(src, __VA_ARGS__)) __core_value;              \
		__READ_INTO(step, last, &__core_value, src, __VA_ARGS__);        \
		__core_value;                                                    \
	})
#define __READ_INTO(step, last, dst, src, ...) \
	__CORE_WALK(step, last, dst, sizeof(*(dst)), src, __VA_ARGS__)

/* The same from the memory of the process; and without relocations, for types that never change. */
#define BPF_CORE_READ_USER(src, ...) \
	__READ_VALUE(bpf_core_read_user, bpf_core_read_user, src, __VA_ARGS__)
#define BPF_CORE_READ_USER_INTO(dst, src, ...) \
	__READ_INTO(bpf_core_read_user, bpf_core_read_user, dst, src, __VA_ARGS__)
#define BPF_CORE_READ_USER_STR_INTO(dst, src, ...) \
	__READ_INTO(bpf_core_read_user, bpf_core_read_user_str, dst, src, __VA_ARGS__)
#define BPF_PROBE_READ(src, ...) \
	__READ_VALUE(bpf_probe_read_kernel, bpf_probe_read_kernel, src, __VA_ARGS__)
#define BPF_PROBE_READ_INTO(dst, src, ...) \
	__READ_INTO(bpf_probe_read_kernel, bpf_probe_read_kernel, dst, src, __VA_ARGS__)
#define BPF_PROBE_READ_STR_INTO(dst, src, ...) \
	__READ_INTO(bpf_probe_read_kernel, bpf_probe_read_kernel_str, dst, src, __VA_ARGS__)
#define BPF_PROBE_READ_USER(src, ...) \
	__READ_VALUE(bpf_probe_read_user, bpf_probe_read_user, src, __VA_ARGS__)
#define BPF_PROBE_READ_USER_INTO(dst, src, ...) \
	__READ_INTO(bpf_probe_read_user, bpf_probe_read_user, dst, src, __VA_ARGS__)

#define __CORE_COUNT(...) __CORE_NTH(__VA_ARGS__, 8, 7, 6, 5, 4, 3, 2, 1)
#define __CORE_NTH(a, b, c, d, e, f, g, h, n, ...) n
#define __CORE_PASTE(a, b) a##b
#define __CORE_NAME(name, n) __CORE_PASTE(name, n)

#define __CORE_PATH(src, ...) \
	__CORE_NAME(__core_path, __CORE_COUNT(__VA_ARGS__))((src), __VA_ARGS__)
#define __core_path1(s, a) (s)->a
#define __core_path2(s, a, b) (s)->a->b
#define __core_path3(s, a, b, c) (s)->a->b->c
#define __core_path4(s, a, b, c, d) (s)->a->b->c->d
#define __core_path5(s, a, b, c, d, e) (s)->a->b->c->d->e
#define __core_path6(s, a, b, c, d, e, f) (s)->a->b->c->d->e->f
#define __core_path7(s, a, b, c, d, e, f, g) (s)->a->b->c->d->e->f->g
#define __core_path8(s, a, b, c, d, e, f, g, h) (s)->a->b->c->d->e->f->g->h

/* Each step has a variable of its own: an inner one would hide what the outer step has read. */
#define __CORE_WALK(step, last, dst, size, src, ...) \
	__CORE_NAME(__core_walk, __CORE_COUNT(__VA_ARGS__))(step, last, dst, size, src, __VA_ARGS__)
#define __core_walk1(step, last, dst, size, s, a) last((void *)(dst), size, &(s)->a)
#define __core_walk2(step, last, dst, size, s, a, ...)                          \
	({                                                                      \
		void *__core_p2;                                                \
		step(&__core_p2, sizeof(__core_p2), &(s)->a);                   \
		__core_walk1(step, last, dst, size, ((typeof((s)->a))__core_p2), \
			     __VA_ARGS__);                                      \
	})
#define __core_walk3(step, last, dst, size, s, a, ...)                          \
	({                                                                      \
		void *__core_p3;                                                \
		step(&__core_p3, sizeof(__core_p3), &(s)->a);                   \
		__core_walk2(step, last, dst, size, ((typeof((s)->a))__core_p3), \
			     __VA_ARGS__);                                      \
	})
#define __core_walk4(step, last, dst, size, s, a, ...)                          \
	({                                                                      \
		void *__core_p4;                                                \
		step(&__core_p4, sizeof(__core_p4), &(s)->a);                   \
		__core_walk3(step, last, dst, size, ((typeof((s)->a))__core_p4), \
			     __VA_ARGS__);                                      \
	})
#define __core_walk5(step, last, dst, size, s, a, ...)                          \
	({                                                                      \
		void *__core_p5;                                                \
		step(&__core_p5, sizeof(__core_p5), &(s)->a);                   \
		__core_walk4(step, last, dst, size, ((typeof((s)->a))__core_p5), \
			     __VA_ARGS__);                                      \
	})
#define __core_walk6(step, last, dst, size, s, a, ...)                          \
	({                                                                      \
		void *__core_p6;                                                \
		step(&__core_p6, sizeof(__core_p6), &(s)->a);                   \
		__core_walk5(step, last, dst, size, ((typeof((s)->a))__core_p6), \
			     __VA_ARGS__);                                      \
	})
#define __core_walk7(step, last, dst, size, s, a, ...)                          \
	({                                                                      \
		void *__core_p7;                                                \
		step(&__core_p7, sizeof(__core_p7), &(s)->a);                   \
		__core_walk6(step, last, dst, size, ((typeof((s)->a))__core_p7), \
			     __VA_ARGS__);                                      \
	})
#define __core_walk8(step, last, dst, size, s, a, ...)                          \
	({                                                                      \
		void *__core_p8;                                                \
		step(&__core_p8, sizeof(__core_p8), &(s)->a);                   \
		__core_walk7(step, last, dst, size, ((typeof((s)->a))__core_p8), \
			     __VA_ARGS__);                                      \
	})

/* A bit-field, extended to 64 bits: shifted left and back as its place and sign want. */
#define BPF_CORE_READ_BITFIELD_PROBED(src, field)                                          \
	({                                                                                 \
		unsigned long long __core_bits = 0;                                        \
		bpf_probe_read_kernel(&__core_bits, __builtin_preserve_field_info((src)->field, 1), \
			(const char *)(src) + __builtin_preserve_field_info((src)->field, 0)); \
		__core_bits <<= __builtin_preserve_field_info((src)->field, 4);            \
		__builtin_preserve_field_info((src)->field, 3) ?                           \
			(unsigned long long)((long long)__core_bits >>                     \
				__builtin_preserve_field_info((src)->field, 5)) :          \
			__core_bits >> __builtin_preserve_field_info((src)->field, 5);     \
	})

/* The same of memory that the program may read at once. The shifts are those of a 64-bit load. */
#define BPF_CORE_READ_BITFIELD(src, field)                                                 \
	({                                                                                 \
		const void *__core_at = (const char *)(src) +                              \
					__builtin_preserve_field_info((src)->field, 0);    \
		unsigned long long __core_bits;                                            \
		asm volatile("" : "+r"(__core_at));                                        \
		switch (__builtin_preserve_field_info((src)->field, 1)) {                  \
		case 1: __core_bits = *(const unsigned char *)__core_at; break;            \
		case 2: __core_bits = *(const unsigned short *)__core_at; break;           \
		case 4: __core_bits = *(const unsigned int *)__core_at; break;             \
		default: __core_bits = *(const unsigned long long *)__core_at; break;      \
		}                                                                          \
		__core_bits <<= __builtin_preserve_field_info((src)->field, 4);            \
		__builtin_preserve_field_info((src)->field, 3) ?                           \
			(unsigned long long)((long long)__core_bits >>                     \
				__builtin_preserve_field_info((src)->field, 5)) :          \
			__core_bits >> __builtin_preserve_field_info((src)->field, 5);     \
	})

#endif
