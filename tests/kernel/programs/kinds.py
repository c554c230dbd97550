"""What can be looked at behind pointers, and the kinds of maps."""

import fsession

recent = fsession.LruHash("u32", "u64", 64)
counts = fsession.PerCpuHash("char[16]", "u64", 64)
flags = fsession.Array("u8", 4)
only = fsession.Global("u32", 0)
seen = fsession.Global("u32", 0)


class Pair(fsession.Struct):
    nice: "s64"
    small: "u8"
    pid: "u32"


pairs = fsession.Hash(Pair, Pair)


@fsession.function
def clamp(value, low, high):
    return min(max(value, low), high)


@fsession.program("fentry/set_user_nice")
def look(ctx, p, nice):
    if fsession.get_current_pid_tgid() & 0xFFFFFFFF != only.value:
        return
    seen.value += 1
    status, parent = fsession.read(p.real_parent.pid)
    fault, nothing = fsession.read(fsession.cast("u32 *", 16)[0])
    following = fsession.container_of(p.tasks.next, "struct task_struct", "tasks")
    fsession.emit(
        bit=p.sched_reset_on_fork,
        users=p.rcu_users.refs.counter,
        comm=p.comm,
        is_python=p.comm.startswith("pyth"),
        is_other=p.comm == "nobody",
        status=status,
        parent=parent,
        fault=fault,
        nothing=nothing,
        other=following.pid >= 0,
        clamped=clamp(nice, -3, 3),
        cpu=fsession.get_smp_processor_id(),
    )
    recent[p.pid] = p.tgid
    counts[p.comm] += 2
    flags[1] = 255

    pairs[nice, 7, p.pid] = (nice, 8, p.tgid)
    pair = pairs.get((nice, 7, p.pid))
    if pair is not None:
        pair.small |= 0x10
        pair.nice -= 1
    fsession.printk("fsession nice %d of %d", nice, p.pid)
