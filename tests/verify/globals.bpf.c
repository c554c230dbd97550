// SPDX-License-Identifier: GPL-2.0
// Global functions with pointers: which arguments they take. "bad" ones are refused.

#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
#define ARG_CTX __attribute__((btf_decl_tag("arg:ctx")))
#define ARG_NONNULL __attribute__((btf_decl_tag("arg:nonnull")))

typedef unsigned long long u64;
typedef unsigned int u32;

char LICENSE[] SEC("license") = "GPL";

struct pair {
    u64 first, second;
};

NOINLINE int sum(struct pair *pair)
{
    return pair ? pair->first + pair->second : 0;
}

NOINLINE int sum_nonnull(struct pair *pair ARG_NONNULL)
{
    return pair->first + pair->second;
}

NOINLINE int sum_unchecked(struct pair *pair)
{
    return pair->first + pair->second;
}

NOINLINE int behind(struct pair *pair ARG_NONNULL)
{
    return *(volatile u64 *)(pair + 1);
}

NOINLINE int of_context(u64 *ctx ARG_CTX, u32 number)
{
    return ctx[0] + number;
}

NOINLINE int fill(u64 *word)
{
    if (word)
        *word = 5;
    return 0;
}

#define PROGRAM(name) SEC("fentry/bpf_fentry_test1") int name(u64 *ctx)

PROGRAM(good_memory)
{
    struct pair pair = {ctx[0], 2};
    volatile int used = sum(&pair);
    (void)used;
    return 0;
}

PROGRAM(good_null)
{
    volatile int used = sum(0);
    (void)used;
    return 0;
}

PROGRAM(good_nonnull)
{
    struct pair pair = {ctx[0], 2};
    volatile int used = sum_nonnull(&pair);
    (void)used;
    return 0;
}

PROGRAM(good_context)
{
    volatile int used = of_context(ctx, 3);
    (void)used;
    return 0;
}

PROGRAM(good_filled)
{
    u64 word = 1;
    fill(&word);
    volatile u64 used = word;
    (void)used;
    return 0;
}

PROGRAM(bad_null)
{
    volatile int used = sum_nonnull(0);
    (void)used;
    return 0;
}

PROGRAM(bad_unchecked)
{
    struct pair pair = {ctx[0], 2};
    volatile int used = sum_unchecked(&pair);
    (void)used;
    return 0;
}

PROGRAM(bad_behind)
{
    struct pair pair = {ctx[0], 2};
    volatile int used = behind(&pair);
    (void)used;
    return 0;
}

PROGRAM(bad_short)
{
    u64 word = ctx[0];
    volatile int used = sum((struct pair *)((char *)&word + 4));
    (void)used;
    return 0;
}

PROGRAM(bad_number)
{
    volatile int used = sum((struct pair *)ctx[0]);
    (void)used;
    return 0;
}
