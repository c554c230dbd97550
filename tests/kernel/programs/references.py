"""References and RCU sections (Linux 6.2)."""

import fsession

only = fsession.Global("u32", 0)
results = fsession.Hash("char[16]", "s64", 64)


@fsession.program("fentry/set_user_nice")
def references(ctx, p):
    if fsession.get_current_pid_tgid() & 0xFFFFFFFF != only.value:
        return
    task = fsession.bpf_task_from_pid(only.value)
    if task is not None:
        results["pid"] = task.pid
        again = fsession.bpf_task_acquire(task)
        fsession.bpf_task_release(task)
        if again:
            results["again"] = again.pid
            fsession.bpf_task_release(again)
    nobody = fsession.bpf_task_from_pid(-1)
    results["nobody"] = nobody is None
    if nobody is None:
        results["none"] = 1
    else:
        fsession.bpf_task_release(nobody)
    fsession.bpf_rcu_read_lock()
    parent = p.real_parent
    results["parent"] = parent.pid
    fsession.bpf_rcu_read_unlock()
    mask = fsession.bpf_cpumask_create()
    if not mask:
        return
    fsession.bpf_cpumask_set_cpu(1, mask)
    results["first cpu"] = fsession.bpf_cpumask_first(mask)
    for _ in range(3):
        other = fsession.bpf_task_from_pid(only.value)
        if not other:
            break
        results["loop"] += other.pid == only.value
        fsession.bpf_task_release(other)
    fsession.bpf_cpumask_release(mask)
