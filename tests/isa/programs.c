/* Plain computation that makes a compiler use many kinds of instructions. No headers, no maps. */
typedef signed char s8;
typedef unsigned char u8;
typedef short s16;
typedef unsigned short u16;
typedef int s32;
typedef unsigned int u32;
typedef long long s64;
typedef unsigned long long u64;

#define noinline __attribute__((noinline))

static u64 (*ktime_get_ns)(void) = (void *)5;
static u32 (*get_smp_processor_id)(void) = (void *)8;

static noinline u64 mix(u64 a, u64 b)
{
	a ^= b >> 7;
	a *= 0x9e3779b97f4a7c15ULL;
	return a | (b << 9);
}

u64 arithmetic(u64 a, u64 b, u32 c, u32 d)
{
	u64 x = a / (b | 1) + a % (b | 3) - (c / (d | 1)) + c % 10;

	x &= 0xffff0000ffffULL;
	x ^= -a;
	c = (c << (d & 31)) | (c >> 5);
	return mix(x, c) + (u64)((s64)b >> 3) + (u32)((s32)d >> 2) + ~c;
}

s64 widths(const s8 *p, const s16 *q, const s32 *r, const u8 *s, const u16 *t)
{
	return p[1] + q[-2] + r[3] + s[0] + t[7] + (s8)r[1] + (s16)r[2] + (s32)(r[4] * 3LL);
}

s64 signed_division(s64 a, s64 b, s32 c, s32 d)
{
#ifdef SIGNED_DIVISION
	return a / b + a % b + c / d + c % 7;
#else
	return a - b + c - d;
#endif
}

u64 swaps(u64 a, u32 b, u16 c)
{
	return __builtin_bswap64(a) + __builtin_bswap32(b) + __builtin_bswap16(c);
}

void stores(u8 *p, u16 *q, u32 *r, u64 *s, u64 v)
{
	p[1] = v;
	q[2] = v + 1;
	r[3] = v + 2;
	s[-4] = v + 3;
	*(volatile u8 *)p = 1;
	*(volatile u16 *)q = 0xfffe;
	*(volatile u32 *)r = 0xfffffffe;
	*(volatile u64 *)s = -7;
}

u64 loops(const u64 *p, u32 n, s32 bias)
{
	u64 sum = 0;

#pragma clang loop unroll(disable) vectorize(disable)
	for (u32 i = 0; i < n; i++) {
		u64 v = p[i];

		if ((s64)v < bias)
			sum += ktime_get_ns();
		else if (v > 1000 && (s32)sum >= -5)
			sum -= v;
		else if (v & 16)
			break;
		if (sum == 0x123456789abcULL || (u32)v <= n)
			sum ^= get_smp_processor_id();
	}
	return sum;
}

#ifdef FETCHES
u64 atomics(u64 *p, u32 *q, u64 v)
{
	u64 x = __sync_fetch_and_add(p, v) + __sync_fetch_and_or(p, 5) + __sync_fetch_and_and(p, v);

	__sync_fetch_and_add(q, 7);
	x += __sync_fetch_and_xor(q, (u32)v) + __sync_lock_test_and_set(p + 2, v);
	x += __sync_val_compare_and_swap(p + 1, v, 7) + __sync_val_compare_and_swap(q, 3, (u32)x);
	return x + __sync_lock_test_and_set(q + 3, 9);
}
#endif

void counts(u64 *p, u64 v)
{
	__sync_fetch_and_add(p, v);
	__sync_fetch_and_add((u32 *)p + 4, 1);
}

#ifdef ACQUIRE
u64 ordered(u64 *p, u32 *q, u8 *r)
{
	u64 x = __atomic_load_n(p, __ATOMIC_ACQUIRE) + __atomic_load_n(q, __ATOMIC_ACQUIRE);

	__atomic_store_n(r, (u8)x, __ATOMIC_RELEASE);
	__atomic_store_n(p + 1, x, __ATOMIC_RELEASE);
	return x;
}
#endif

u64 large_frame(u64 n)
{
	volatile u8 buffer[400];

	buffer[n & 127] = n;
	buffer[399] = 4;
	return buffer[(n >> 3) & 127] + 0x1122334455667788ULL;
}
