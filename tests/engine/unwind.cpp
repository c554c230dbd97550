extern "C" long inner(long a)
{
	if (a < 0)
		throw a;
	return a;
}

extern "C" long middle(long a) { return inner(a) + 1; }

extern "C" long outer(long a)
{
	try {
		return middle(a) + 1;
	} catch (long caught) {
		return caught * 10;
	}
}
