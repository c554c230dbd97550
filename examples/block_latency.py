"""Latency of requests to block devices, as a log2 histogram of microseconds."""

import fsession

started = fsession.Hash("u64", "u64", max_entries=8192)
durations = fsession.PerCpuArray("u64", 32)


@fsession.program("fentry/blk_mq_start_request")
def start(ctx, rq):
    started[fsession.cast("u64", rq)] = fsession.ktime_get_ns()


@fsession.program("fentry/blk_mq_end_request")
def end(ctx, rq):
    since = started.get(fsession.cast("u64", rq))
    if since is None:
        return
    durations[fsession.log2((fsession.ktime_get_ns() - since) // 1000)] += 1
    del started[fsession.cast("u64", rq)]
