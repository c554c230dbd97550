"""A value for each thread, and kernel functions by their names."""

import fsession

counts = fsession.TaskStorage("u64")
only = fsession.Global("u32", 0)


@fsession.program("set_user_nice")
def nice(ctx, nice):
    if fsession.get_current_pid_tgid() & 0xFFFFFFFF != only:
        return
    task = fsession.get_current_task()
    if not fsession.session_is_return(ctx):
        counts[task] += nice
        return
    fsession.emit(sum=counts.get(task, 0), pid=task.pid)
    if counts.get(task, 0) > 10:
        counts[task] = 1


@fsession.program("fexit/set_user_nice")
def found(ctx):
    if fsession.get_current_pid_tgid() & 0xFFFFFFFF != only:
        return
    task = fsession.bpf_task_from_pid(only.value)
    if task is None:
        return
    fsession.emit(pid=task.pid, comm=task.comm)
    fsession.bpf_task_release(task)
