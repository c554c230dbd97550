"""On a function of a BPF program: TARGET stands for its place."""

import fsession

durations = fsession.PerCpuArray("u64", 64)


@fsession.program("TARGET")
def callee(ctx, first, second):
    cookie = fsession.session_cookie(ctx)
    if not fsession.session_is_return(ctx):
        cookie[0] = fsession.ktime_get_ns()
        return
    durations[fsession.log2(fsession.ktime_get_ns() - cookie[0])] += 1
    fsession.emit(first=first, second=second, ret=fsession.ret(ctx))
