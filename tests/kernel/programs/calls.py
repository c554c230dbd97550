"""Helpers and kernel functions by their names; ring buffers; structs in structs."""

import fsession

only = fsession.Global("u32", 0)
results = fsession.Hash("char[24]", "s64", 64)
stacks = fsession.StackTrace(64, 16)
plain = fsession.Hash("u32", "u64", 4)
slots = fsession.Array("u32", 2)


class Place(fsession.Struct):
    pid: "u32"
    comm: "char[16]"


class Change(fsession.Struct):
    small: "u8"
    where: Place
    nice: "s64"


changes = fsession.Hash(Change, Change)
reserved = fsession.RingBuf(Change, 8192)
sent = fsession.RingBuf("u32", 4096)
raw = fsession.RingBuf(size=4096)


@fsession.program("set_user_nice")
def rings(ctx, p, nice):
    if fsession.get_current_pid_tgid() & 0xFFFFFFFF != only.value:
        return
    if fsession.session_is_return(ctx):
        sent.output(p.pid)
        return
    record = reserved.reserve()
    if record is None:
        return
    if nice > 10:
        reserved.discard(record)
        return
    record.small = 7
    record.where.pid = p.pid
    record.nice = nice
    reserved.submit(record)
    changes[1, (p.pid, p.comm), nice] = (2, (p.tgid, "two"), -nice)
    found = changes.get((1, (p.pid, p.comm), nice))
    if found is not None:
        found.where.pid += 1
    if (1, (p.pid, p.comm), nice) not in changes:
        results["missing"] = 1


@fsession.program("fentry/set_user_nice")
def calls(ctx, p, nice):
    if fsession.get_current_pid_tgid() & 0xFFFFFFFF != only.value:
        return
    results["arg_cnt"] = fsession.get_func_arg_cnt(ctx)
    status, second = fsession.get_func_arg(ctx, 1)
    results["arg"] = second if status == 0 else -1
    status, _ = fsession.get_func_arg(ctx, 9)
    results["no arg"] = status
    status, number = fsession.strtol("-42", 4, 10)
    results["strtol"] = number
    results["strtol bytes"] = status
    regs = fsession.task_pt_regs(p)
    results["regs"] = regs is not None
    fsession.emit(function=p.sched_class.enqueue_task, null=p.plug is None)


@fsession.program("fentry/set_user_nice")
def memory(ctx, p):
    if fsession.get_current_pid_tgid() & 0xFFFFFFFF != only.value:
        return
    comm = fsession.buffer(16)
    results["comm"] = fsession.get_current_comm(comm, 16)
    results["first"] = comm[0]
    results["stack"] = fsession.get_stackid(ctx, stacks) >= 0
    frames = fsession.buffer(64)
    results["frames"] = fsession.get_stack(ctx, frames, len(frames), 0)
    results["task stack"] = fsession.get_task_stack(p, frames, 64, 0) >= 0
    results["read"] = fsession.probe_read_kernel(comm, 8, p.comm)
    results["read first"] = comm[0]


@fsession.program("fentry/set_user_nice")
def entries(ctx, p):
    if fsession.get_current_pid_tgid() & 0xFFFFFFFF != only.value:
        return
    results["write"] = fsession.map_update_elem(plain, p.pid, 5, 0)
    value = fsession.map_lookup_elem(plain, p.pid)
    if value is not None:
        results["lookup"] = value
        results["delete"] = fsession.map_delete_elem(plain, p.pid)
    results["gone"] = p.pid not in plain
    results["query"] = fsession.ringbuf_query(raw, 1)
    words = fsession.buffer(16)
    words[3] = 9
    raw.output(words)
    fsession.ringbuf_output(raw, "abc", 3, 0)
    spare = fsession.ringbuf_reserve(raw, 24, 0)
    if spare is not None:
        spare[0] = 200
        spare[23] = 1
        fsession.ringbuf_submit(spare, 0)


@fsession.program("fentry/set_user_nice")
def dynptrs(ctx, p):
    if fsession.get_current_pid_tgid() & 0xFFFFFFFF != only.value:
        return
    comm = fsession.buffer(8)
    words = fsession.buffer(2, "u64")
    words[0] = 42
    words[1] = 255
    text = fsession.buffer(16)
    results["snprintf"] = fsession.snprintf(text, 16, "%d is %x", words, 16)
    results["same"] = fsession.strncmp(text, 8, "42 is ff")
    results["other"] = fsession.strncmp(text, 8, "42 is fe")
    results["enum"] = fsession.enum("bpf_map_type").BPF_MAP_TYPE_HASH + BPF_MAP_TYPE_ARRAY
    results["pointer"] = p.sched_class.enqueue_task is None
    data = fsession.dynptr()
    results["dynptr"] = fsession.dynptr_from_mem(slots[0], 4, 0, data)
    results["dynptr write"] = fsession.dynptr_write(data, 0, "abc", 4, 0)
    results["dynptr read"] = fsession.dynptr_read(comm, 2, data, 1, 0)
    results["dynptr byte"] = comm[0]
    part = fsession.dynptr_data(data, 0, 4)
    if part is not None:
        results["dynptr data"] = part[2]
