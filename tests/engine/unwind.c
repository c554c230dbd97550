#include <unwind.h>

static _Unwind_Reason_Code each(struct _Unwind_Context *context, void *out)
{
	long *found = out;
	if (found[0] < 500)
		found[++found[0]] = _Unwind_GetIP(context);
	return _URC_NO_REASON;
}

__attribute__((noinline)) long inner(long *found) { found[0] = 0; _Unwind_Backtrace(each, found); return found[0]; }
__attribute__((noinline)) long middle(long *found) { return inner(found) + 1; }
long outer(long *found) { return middle(found) + 1; }
