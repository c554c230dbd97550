"""icmp_rcv: a histogram of its duration, and an event for each slow call on one device."""

import fsession

durations = fsession.PerCpuArray("u64", 64)
threshold = fsession.Global("u64", 1000)


@fsession.program("icmp_rcv")
def icmp(ctx, skb):
    cookie = fsession.session_cookie(ctx)
    if not fsession.session_is_return(ctx):
        cookie[0] = fsession.ktime_get_ns()
        return
    took = fsession.ktime_get_ns() - cookie[0]
    durations[fsession.log2(took)] += 1
    if took > threshold and skb.dev.ifindex == 1:
        fsession.emit(length=skb.len, name=skb.dev.name, took_ns=took, ret=fsession.ret(ctx))
