struct point { int x, y; };
struct pair { long first; short second; unsigned flag : 3, rest : 5; };
struct mixed { long a; double b; };
enum kind { PLAIN, FANCY = 7 };
typedef unsigned int count_t;

__attribute__((noinline)) static int helper(const char *text) { int n = 0; while (text[n]) n++; return n; }
long add(long a, long b) { return a + b; }
long twice(long a) { return add(a, a); }
int name_len(const char *text, enum kind kind, struct point *at) { return helper(text) + at->x + kind; }
count_t counted(struct pair both) { return both.first + both.second; }
double scaled(long a, double b) { return a * b; }
long mixed(struct mixed both) { return both.a; }
long plain(long a);
__attribute__((patchable_function_entry(0))) long plain(long a) { return a; }

long deep(long left);
long (*volatile deeper)(long) = deep;
__attribute__((noinline, optimize("no-omit-frame-pointer", "no-optimize-sibling-calls")))
long deep(long left) { return left ? deeper(left - 1) + 1 : 0; }

int vfork(void) { return 0; }
__attribute__((noreturn)) void never(void) { for (;;) ; }
