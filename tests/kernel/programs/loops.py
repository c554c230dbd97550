"""Loops whose rounds nobody knows beforehand: over kernel structures, maps and numbers."""

import fsession

only = fsession.Global("u32")
rounds = fsession.Global("u32")
steps = fsession.Hash("u32", "u64", 64)
parity = fsession.Array("u64", 2)


@fsession.function
def collatz(n):
    count = 0
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        count += 1
    return count


@fsession.program("set_user_nice")
def loops(ctx, nice, p):
    if p.pid != only.value:
        return
    cookie = fsession.session_cookie(ctx)
    if not fsession.session_is_return(ctx):
        for i in range(rounds.value):
            cookie[0] += i
        return
    depth = 0
    parent = p
    while parent.pid != 0:
        parent = parent.real_parent
        depth += 1
    for i in range(rounds.value):
        parity[i & 1] += 1
        if i == nice * 100:
            steps[i] = collatz(i)
            fsession.emit(at=i, pid=p.pid)
    missing = 0
    for i in range(nice * 1000):
        if i not in steps:
            missing += 1
    fsession.emit(depth=depth, last=parent.pid, cookie=cookie[0], missing=missing)
    n = 0
    while True:
        n += parity[n & 3]  # there is no parity[2]: the program ends
    fsession.emit(never=n)
