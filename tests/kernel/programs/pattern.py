"""A program for all functions of a pattern: its arguments come by helpers."""

import fsession

calls = fsession.Hash("s32", "u64", 64)
only = fsession.Global("u32", 0)


@fsession.program("do_sys_open*")
def opened(ctx, dfd, filename):
    if fsession.get_current_pid_tgid() & 0xFFFFFFFF != only:
        return
    cookie = fsession.session_cookie(ctx)
    if not fsession.session_is_return(ctx):
        cookie[0] = fsession.ktime_get_ns()
        return
    calls[dfd] += 1
    fsession.emit(name=filename, took_ns=fsession.ktime_get_ns() - cookie[0], ret=fsession.ret(ctx))
