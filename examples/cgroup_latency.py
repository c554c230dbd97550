"""Time spent in reads, by cgroup."""

import fsession


class Total(fsession.Struct):
    calls: "u64"
    took_ns: "u64"


totals = fsession.Hash("u64", Total)


@fsession.program("vfs_read")
def read(ctx):
    cookie = fsession.session_cookie(ctx)
    if not fsession.session_is_return(ctx):
        cookie[0] = fsession.ktime_get_ns()
        return
    took = fsession.ktime_get_ns() - cookie[0]
    group = fsession.get_current_cgroup_id()
    total = totals.get(group)
    if total is None:
        totals[group] = (1, took)
    else:
        total.calls += 1
        total.took_ns += took
