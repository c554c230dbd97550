"""Reads that took longer than a limit, with the name of the file."""

import fsession

limit_ns = fsession.Global("u64", 10_000)


@fsession.program("vfs_read")
def read(ctx, file, count):
    cookie = fsession.session_cookie(ctx)
    if not fsession.session_is_return(ctx):
        cookie[0] = fsession.ktime_get_ns()
        return
    took = fsession.ktime_get_ns() - cookie[0]
    if took < limit_ns:
        return
    fsession.emit(
        comm=fsession.get_current_comm(),
        name=file.f_path.dentry.d_name.name,
        asked=count,
        got=fsession.ret(ctx),
        took_ns=took,
    )
