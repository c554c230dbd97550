"""Events with structs, arrays and stacks."""

import fsession

only = fsession.Global("u32")


class Seen(fsession.Struct):
    pid: "u32"
    name: "char[16]"
    nice: "s64"


seen = fsession.Hash("u32", Seen, 4)


@fsession.program("set_user_nice")
def events(ctx, p, nice):
    if p.pid != only.value:
        return
    seen[p.pid] = (p.tgid, p.comm, nice)
    own = seen.get(p.pid)
    if own is None:
        return
    fsession.emit(
        limits=p.signal.rlim,
        load=p.se.load,
        cred=p.cred[0],
        own=own,
        stack=fsession.kstack(),
        short=fsession.kstack(2),
        caller=fsession.ustack(4),
        at_return=fsession.session_is_return(ctx),
    )
