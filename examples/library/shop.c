// A shared library to be traced in user space: see scripts/demo.py.
#include <stddef.h>

struct order {
	unsigned int id;
	long price;
};

static __attribute__((noinline)) long discount(long price, const char *code)
{
	return code && code[0] == 'X' ? price / 10 : 0;
}

long total(const struct order *orders, size_t count, const char *code)
{
	long sum = 0;

	for (size_t at = 0; at < count; at++)
		sum += orders[at].price - discount(orders[at].price, code);
	return sum;
}
