"""The helpers of tracing programs: what they take and give, and since when.

Kinds of arguments, results and licenses are those of the kernel's prototypes
(``bpf_tracing_func_proto`` in kernel/trace/bpf_trace.c and what it falls back to); a test reads
them from the memory of running kernels and compares. Releases from Linux 6.1 on are of the tracing
programs themselves; those before are of the helper.
"""

from __future__ import annotations

import re

from fsession.calls.model import Access, Arg, ArgKind, Helper, Only, Result, ResultKind
from fsession.uapi import FuncId

__all__ = ["HELPERS", "find_helper"]

ANY = Arg(ArgKind.ANYTHING)
SCALAR = Arg(ArgKind.SCALAR)
CTX = Arg(ArgKind.CTX)
MAP = Arg(ArgKind.MAP)
KEY = Arg(ArgKind.KEY, access=Access.READ)
VALUE = Arg(ArgKind.VALUE, access=Access.READ)
VALUE_OR_NULL = Arg(ArgKind.VALUE, nullable=True, access=Access.READ)
OUT_VALUE = Arg(ArgKind.VALUE, access=Access.WRITE)
MEM = Arg(ArgKind.MEM, access=Access.READ)
MEM_OR_NULL = Arg(ArgKind.MEM, nullable=True, access=Access.READ)
OUT = Arg(ArgKind.MEM, access=Access.WRITE)
OUT_U64 = Arg(ArgKind.MEM, access=Access.WRITE, size=8)
INOUT = Arg(ArgKind.MEM, access=Access.BOTH)
INOUT_OR_NULL = Arg(ArgKind.MEM, nullable=True, access=Access.BOTH)
SIZE = Arg(ArgKind.SIZE)
SIZE_OR_ZERO = Arg(ArgKind.SIZE, zero=True)
ALLOC_SIZE = Arg(ArgKind.ALLOC_SIZE, zero=True)
SOCK = Arg(ArgKind.SOCK)
SOCK_OR_NULL = Arg(ArgKind.SOCK, nullable=True)
SOCK_COMMON = Arg(ArgKind.SOCK_COMMON)
SPIN_LOCK = Arg(ArgKind.SPIN_LOCK)
TIMER = Arg(ArgKind.TIMER)
KPTR = Arg(ArgKind.KPTR)
PERCPU = Arg(ArgKind.PERCPU)
CALLBACK = Arg(ArgKind.FUNC)
CALLBACK_CTX = Arg(ArgKind.STACK, nullable=True)
DYNPTR = Arg(ArgKind.DYNPTR, access=Access.READ)
OUT_DYNPTR = Arg(ArgKind.DYNPTR, access=Access.WRITE, type="local")
OUT_RECORD_DYNPTR = Arg(ArgKind.DYNPTR, access=Access.WRITE, type="ringbuf")
RELEASED_DYNPTR = Arg(ArgKind.DYNPTR, releases=True, type="ringbuf")
RELEASED_RECORD = Arg(ArgKind.RINGBUF_MEM, releases=True)
RELEASED_PTR = Arg(ArgKind.BTF_ID, nullable=True, releases=True)
CONST_STR = Arg(ArgKind.CONST_STR)

VOID = Result(ResultKind.VOID)
MAP_VALUE_OR_NULL = Result(ResultKind.MAP_VALUE, nullable=True)
BYTES_OR_NULL = Result(ResultKind.MEM, nullable=True)
RECORD_OR_NULL = Result(ResultKind.MEM, nullable=True, type="ringbuf")
PERCPU_VALUE = Result(ResultKind.MEM_OR_BTF_ID)
PERCPU_VALUE_OR_NULL = Result(ResultKind.MEM_OR_BTF_ID, nullable=True)
KPTR_OR_NULL = Result(ResultKind.BTF_ID, nullable=True)

_INTEGERS = {
    "void": VOID,
    "int": Result(ResultKind.INTEGER, size=4, signed=True),
    "long": Result(ResultKind.INTEGER, size=8, signed=True),
    "__u32": Result(ResultKind.INTEGER, size=4),
    "__u64": Result(ResultKind.INTEGER, size=8),
}
_DECLARATION = re.compile(r"(?P<result>.*?)\s*\b(?P<name>\w+)\(")


def ptr(type: str) -> Arg:
    """A pointer to a struct of the kernel."""
    return Arg(ArgKind.BTF_ID, type=type)


def ptr_or_null(type: str) -> Arg:
    return Arg(ArgKind.BTF_ID, nullable=True, type=type)


def struct(type: str, *, trusted: bool = False) -> Result:
    return Result(ResultKind.BTF_ID, type=type, trusted=trusted)


def struct_or_null(type: str) -> Result:
    return Result(ResultKind.BTF_ID, nullable=True, type=type)


def _helper(
    since: str,
    c: str,
    *args: Arg,
    result: Result | None = None,
    gpl: bool = False,
    sleeps: bool = False,
    acquires: bool = False,
    only: Only = Only.EVERYWHERE,
) -> Helper:
    found = _DECLARATION.match(c)
    assert found is not None
    made = result or _INTEGERS[found["result"]]
    return Helper(FuncId[found["name"]], c, args, made, since, gpl, sleeps, acquires, only)


# fmt: off
_ROWS = (
    _helper("3.18", "void *map_lookup_elem(void *map, const void *key)",
            MAP, KEY, result=MAP_VALUE_OR_NULL),
    _helper("3.18", "long map_update_elem(void *map, const void *key, const void *value, "
            "__u64 flags)",
            MAP, KEY, VALUE, ANY),
    _helper("3.19", "long map_delete_elem(void *map, const void *key)", MAP, KEY),
    _helper("4.1", "long probe_read(void *dst, __u32 size, const void *unsafe_ptr)",
            OUT, SIZE_OR_ZERO, ANY, gpl=True),
    _helper("4.1", "__u64 ktime_get_ns(void)"),
    _helper("4.1", "long trace_printk(const char *fmt, __u32 fmt_size, ...)", MEM, SIZE, gpl=True),
    _helper("4.1", "__u32 get_prandom_u32(void)"),
    _helper("4.1", "__u32 get_smp_processor_id(void)"),
    _helper("4.2", "long tail_call(void *ctx, void *prog_array_map, __u32 index)",
            CTX, MAP, ANY, result=VOID),
    _helper("4.2", "__u64 get_current_pid_tgid(void)"),
    _helper("4.2", "__u64 get_current_uid_gid(void)"),
    _helper("4.2", "long get_current_comm(void *buf, __u32 size_of_buf)", OUT, SIZE),
    _helper("7.0", "__u32 get_cgroup_classid(void)"),
    _helper("4.3", "__u64 perf_event_read(void *map, __u64 flags)", MAP, ANY, gpl=True),
    _helper("4.4", "long perf_event_output(void *ctx, void *map, __u64 flags, void *data, "
            "__u64 size)",
            CTX, MAP, ANY, MEM, SIZE_OR_ZERO, gpl=True),
    _helper("4.6", "long get_stackid(void *ctx, void *map, __u64 flags)", CTX, MAP, ANY, gpl=True),
    _helper("4.8", "__u64 get_current_task(void)", gpl=True),
    _helper("4.8", "long probe_write_user(void *dst, const void *src, __u32 len)",
            ANY, MEM, SIZE, gpl=True),
    _helper("4.9", "long current_task_under_cgroup(void *map, __u32 index)", MAP, ANY),
    _helper("4.10", "long get_numa_node_id(void)"),
    _helper("4.11", "long probe_read_str(void *dst, __u32 size, const void *unsafe_ptr)",
            OUT, SIZE_OR_ZERO, ANY, gpl=True),
    _helper("4.12", "__u64 get_socket_cookie(void *sk)", SOCK_OR_NULL),
    _helper("4.15", "long perf_event_read_value(void *map, __u64 flags, "
            "struct bpf_perf_event_value *buf, __u32 buf_size)",
            MAP, ANY, OUT, SIZE, gpl=True),
    _helper("4.18", "long get_stack(void *ctx, void *buf, __u32 size, __u64 flags)",
            CTX, OUT, SIZE_OR_ZERO, ANY, gpl=True),
    _helper("4.18", "__u64 get_current_cgroup_id(void)"),
    _helper("4.20", "long map_push_elem(void *map, const void *value, __u64 flags)",
            MAP, VALUE, ANY),
    _helper("4.20", "long map_pop_elem(void *map, void *value)", MAP, OUT_VALUE),
    _helper("4.20", "long map_peek_elem(void *map, void *value)", MAP, OUT_VALUE),
    _helper("5.1", "long spin_lock(struct bpf_spin_lock *lock)", SPIN_LOCK, result=VOID),
    _helper("5.1", "long spin_unlock(struct bpf_spin_lock *lock)", SPIN_LOCK, result=VOID),
    _helper("5.2", "long strtol(const char *buf, unsigned long buf_len, __u64 flags, long *res)",
            MEM, SIZE, ANY, OUT_U64),
    _helper("5.2", "long strtoul(const char *buf, unsigned long buf_len, __u64 flags, "
            "unsigned long *res)",
            MEM, SIZE, ANY, OUT_U64),
    _helper("5.2", "void *sk_storage_get(void *map, void *sk, void *value, __u64 flags)",
            MAP, ptr_or_null("sock_common"), VALUE_OR_NULL, ANY, result=MAP_VALUE_OR_NULL),
    _helper("5.2", "long sk_storage_delete(void *map, void *sk)", MAP, ptr_or_null("sock_common")),
    _helper("5.3", "long send_signal(__u32 sig)", ANY),
    _helper("5.5", "long skb_output(void *ctx, void *map, __u64 flags, void *data, __u64 size)",
            ptr("sk_buff"), MAP, ANY, MEM, SIZE_OR_ZERO, gpl=True),
    _helper("5.5", "long probe_read_user(void *dst, __u32 size, const void *unsafe_ptr)",
            OUT, SIZE_OR_ZERO, ANY, gpl=True),
    _helper("5.5", "long probe_read_kernel(void *dst, __u32 size, const void *unsafe_ptr)",
            OUT, SIZE_OR_ZERO, ANY, gpl=True),
    _helper("5.5", "long probe_read_user_str(void *dst, __u32 size, const void *unsafe_ptr)",
            OUT, SIZE_OR_ZERO, ANY, gpl=True),
    _helper("5.5", "long probe_read_kernel_str(void *dst, __u32 size, const void *unsafe_ptr)",
            OUT, SIZE_OR_ZERO, ANY, gpl=True),
    _helper("5.6", "long send_signal_thread(__u32 sig)", ANY),
    _helper("5.6", "__u64 jiffies64(void)"),
    _helper("5.7", "long get_ns_current_pid_tgid(__u64 dev, __u64 ino, "
            "struct bpf_pidns_info *nsdata, __u32 size)",
            ANY, ANY, OUT, SIZE),
    _helper("5.7", "long xdp_output(void *ctx, void *map, __u64 flags, void *data, __u64 size)",
            ptr("xdp_buff"), MAP, ANY, MEM, SIZE_OR_ZERO, gpl=True),
    _helper("5.7", "__u64 get_current_ancestor_cgroup_id(int ancestor_level)", ANY),
    _helper("5.8", "__u64 ktime_get_boot_ns(void)"),
    _helper("5.8", "long ringbuf_output(void *ringbuf, void *data, __u64 size, __u64 flags)",
            MAP, MEM, SIZE_OR_ZERO, ANY),
    _helper("5.8", "void *ringbuf_reserve(void *ringbuf, __u64 size, __u64 flags)",
            MAP, ALLOC_SIZE, ANY, result=RECORD_OR_NULL, acquires=True),
    _helper("5.8", "void ringbuf_submit(void *data, __u64 flags)", RELEASED_RECORD, ANY),
    _helper("5.8", "void ringbuf_discard(void *data, __u64 flags)", RELEASED_RECORD, ANY),
    _helper("5.8", "__u64 ringbuf_query(void *ringbuf, __u64 flags)", MAP, ANY),
    _helper("5.9", "struct tcp6_sock *skc_to_tcp6_sock(void *sk)",
            SOCK, result=struct_or_null("tcp6_sock")),
    _helper("5.9", "struct tcp_sock *skc_to_tcp_sock(void *sk)",
            SOCK, result=struct_or_null("tcp_sock")),
    _helper("5.9", "struct tcp_timewait_sock *skc_to_tcp_timewait_sock(void *sk)",
            SOCK, result=struct_or_null("tcp_timewait_sock")),
    _helper("5.9", "struct tcp_request_sock *skc_to_tcp_request_sock(void *sk)",
            SOCK, result=struct_or_null("tcp_request_sock")),
    _helper("5.9", "struct udp6_sock *skc_to_udp6_sock(void *sk)",
            SOCK, result=struct_or_null("udp6_sock")),
    _helper("5.9", "long get_task_stack(struct task_struct *task, void *buf, __u32 size, "
            "__u64 flags)",
            ptr("task_struct"), OUT, SIZE_OR_ZERO, ANY),
    _helper("5.10", "long d_path(const struct path *path, char *buf, __u32 sz)",
            ptr("path"), INOUT, SIZE_OR_ZERO, only=Only.ALLOWLIST),
    _helper("5.10", "long copy_from_user(void *dst, __u32 size, const void *user_ptr)",
            OUT, SIZE_OR_ZERO, ANY, sleeps=True),
    _helper("5.10", "long snprintf_btf(char *str, __u32 str_size, struct btf_ptr *ptr, "
            "__u32 btf_ptr_size, __u64 flags)",
            INOUT, SIZE, MEM, SIZE, ANY),
    _helper("5.10", "void *per_cpu_ptr(const void *percpu_ptr, __u32 cpu)",
            PERCPU, ANY, result=PERCPU_VALUE_OR_NULL),
    _helper("5.10", "void *this_cpu_ptr(const void *percpu_ptr)", PERCPU, result=PERCPU_VALUE),
    _helper("5.11", "void *task_storage_get(void *map, struct task_struct *task, "
            "void *value, __u64 flags)",
            MAP, ptr_or_null("task_struct"), VALUE_OR_NULL, ANY, result=MAP_VALUE_OR_NULL),
    _helper("5.11", "long task_storage_delete(void *map, struct task_struct *task)",
            MAP, ptr_or_null("task_struct")),
    _helper("5.11", "struct task_struct *get_current_task_btf(void)",
            result=struct("task_struct", trusted=True), gpl=True),
    _helper("5.11", "struct socket *sock_from_file(struct file *file)",
            ptr("file"), result=struct_or_null("socket")),
    _helper("5.13", "long for_each_map_elem(void *map, void *callback_fn, "
            "void *callback_ctx, __u64 flags)",
            MAP, CALLBACK, CALLBACK_CTX, ANY),
    _helper("5.13", "long snprintf(char *str, __u32 str_size, const char *fmt, "
            "__u64 *data, __u32 data_len)",
            INOUT_OR_NULL, SIZE_OR_ZERO, CONST_STR, MEM_OR_NULL, SIZE_OR_ZERO, gpl=True),
    _helper("5.15", "long timer_init(struct bpf_timer *timer, void *map, __u64 flags)",
            TIMER, MAP, ANY, gpl=True),
    _helper("5.15", "long timer_set_callback(struct bpf_timer *timer, void *callback_fn)",
            TIMER, CALLBACK, gpl=True),
    _helper("5.15", "long timer_start(struct bpf_timer *timer, __u64 nsecs, __u64 flags)",
            TIMER, ANY, ANY, gpl=True),
    _helper("5.15", "long timer_cancel(struct bpf_timer *timer)", TIMER, gpl=True),
    _helper("5.15", "__u64 get_func_ip(void *ctx)", CTX, gpl=True),
    _helper("5.15", "__u64 get_attach_cookie(void *ctx)", CTX),
    _helper("5.15", "long task_pt_regs(struct task_struct *task)",
            ptr("task_struct"), result=struct("pt_regs"), gpl=True),
    _helper("5.16", "long get_branch_snapshot(void *entries, __u32 size, __u64 flags)",
            OUT, SIZE_OR_ZERO, ANY, gpl=True),
    _helper("5.16", "long trace_vprintk(const char *fmt, __u32 fmt_size, const void *data, "
            "__u32 data_len)",
            MEM, SIZE, MEM_OR_NULL, SIZE_OR_ZERO, gpl=True),
    _helper("5.16", "struct unix_sock *skc_to_unix_sock(void *sk)",
            SOCK, result=struct_or_null("unix_sock")),
    _helper("5.17", "long find_vma(struct task_struct *t, __u64 addr, void *callback_fn, "
            "void *ctx, __u64 flags)",
            ptr("task_struct"), ANY, CALLBACK, CALLBACK_CTX, ANY),
    _helper("5.17", "long loop(__u32 nr_loops, void *callback_fn, void *callback_ctx, __u64 flags)",
            SCALAR, CALLBACK, CALLBACK_CTX, ANY),
    _helper("5.17", "long strncmp(const char *s1, __u32 s1_sz, const char *s2)",
            MEM, SIZE, CONST_STR),
    _helper("5.17", "long get_func_arg(void *ctx, __u32 n, __u64 *value)", CTX, ANY, OUT_U64),
    _helper("5.17", "long get_func_ret(void *ctx, __u64 *value)", CTX, OUT_U64),
    _helper("5.17", "long get_func_arg_cnt(void *ctx)", CTX),
    _helper("5.18", "__u64 xdp_get_buff_len(void *xdp)", ptr("xdp_buff")),
    _helper("5.18", "long copy_from_user_task(void *dst, __u32 size, const void *src, "
            "struct task_struct *t, __u64 flags)",
            OUT, SIZE_OR_ZERO, ANY, ptr("task_struct"), ANY, gpl=True, sleeps=True),
    _helper("5.19", "void *kptr_xchg(void *dst, void *ptr)",
            KPTR, RELEASED_PTR, result=KPTR_OR_NULL, acquires=True),
    _helper("5.19", "void *map_lookup_percpu_elem(void *map, const void *key, __u32 cpu)",
            MAP, KEY, ANY, result=MAP_VALUE_OR_NULL),
    _helper("5.19", "struct mptcp_sock *skc_to_mptcp_sock(void *sk)",
            SOCK_COMMON, result=struct_or_null("mptcp_sock")),
    _helper("5.19", "long dynptr_from_mem(void *data, __u32 size, __u64 flags, "
            "struct bpf_dynptr *ptr)",
            OUT, SIZE_OR_ZERO, ANY, OUT_DYNPTR),
    _helper("5.19", "long ringbuf_reserve_dynptr(void *ringbuf, __u32 size, __u64 flags, "
            "struct bpf_dynptr *ptr)",
            MAP, ANY, ANY, OUT_RECORD_DYNPTR, acquires=True),
    _helper("5.19", "void ringbuf_submit_dynptr(struct bpf_dynptr *ptr, __u64 flags)",
            RELEASED_DYNPTR, ANY),
    _helper("5.19", "void ringbuf_discard_dynptr(struct bpf_dynptr *ptr, __u64 flags)",
            RELEASED_DYNPTR, ANY),
    _helper("5.19", "long dynptr_read(void *dst, __u32 len, const struct bpf_dynptr *src, "
            "__u32 offset, __u64 flags)",
            OUT, SIZE_OR_ZERO, DYNPTR, ANY, ANY),
    _helper("5.19", "long dynptr_write(const struct bpf_dynptr *dst, __u32 offset, "
            "void *src, __u32 len, __u64 flags)",
            DYNPTR, ANY, MEM, SIZE_OR_ZERO, ANY),
    _helper("5.19", "void *dynptr_data(const struct bpf_dynptr *ptr, __u32 offset, __u32 len)",
            DYNPTR, ANY, ALLOC_SIZE, result=BYTES_OR_NULL),
    _helper("6.1", "__u64 ktime_get_tai_ns(void)"),
    _helper("6.1", "long user_ringbuf_drain(void *map, void *callback_fn, void *ctx, __u64 flags)",
            MAP, CALLBACK, CALLBACK_CTX, ANY),
    _helper("6.2", "void *cgrp_storage_get(void *map, struct cgroup *cgroup, void *value, "
            "__u64 flags)",
            MAP, ptr_or_null("cgroup"), VALUE_OR_NULL, ANY, result=MAP_VALUE_OR_NULL),
    _helper("6.2", "long cgrp_storage_delete(void *map, struct cgroup *cgroup)",
            MAP, ptr_or_null("cgroup")),
)
# fmt: on

HELPERS = {helper.name: helper for helper in _ROWS}
"""By their names in include/uapi/linux/bpf.h, less ``bpf_``; in the order of their numbers."""
_BY_ID: dict[int, Helper] = {helper.id: helper for helper in _ROWS}


def find_helper(name: str | int) -> Helper | None:
    """A helper by its name or number; None: tracing programs have no such helper."""
    return HELPERS.get(name) if isinstance(name, str) else _BY_ID.get(name)
