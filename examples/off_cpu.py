"""Of the time inside a function, how much its thread was off the CPU."""

import fsession

inside = fsession.Hash("u32", "u64", max_entries=4096)  # thread: nanoseconds off the CPU until now


@fsession.program("hrtimer_nanosleep")
def sleep(ctx):
    thread = fsession.get_current_pid_tgid() & 0xFFFFFFFF
    cookie = fsession.session_cookie(ctx)
    if not fsession.session_is_return(ctx):
        inside[thread] = 0
        cookie[0] = fsession.ktime_get_ns()
        return
    off = inside.get(thread, 0)
    del inside[thread]
    fsession.emit(thread=thread, took_ns=fsession.ktime_get_ns() - cookie[0], off_cpu_ns=off)


@fsession.program("schedule")
def switch(ctx):
    thread = fsession.get_current_pid_tgid() & 0xFFFFFFFF
    if thread not in inside:
        return
    cookie = fsession.session_cookie(ctx)
    if not fsession.session_is_return(ctx):
        cookie[0] = fsession.ktime_get_ns()
    elif cookie[0] != 0:
        inside[thread] += fsession.ktime_get_ns() - cookie[0]
