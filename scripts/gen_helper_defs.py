"""Write src/fsession/include/bpf/bpf_helper_defs.h: the helpers that tracing programs may call.

    python scripts/gen_helper_defs.py > src/fsession/include/bpf/bpf_helper_defs.h

The numbers are those of ``enum bpf_func_id`` (`fsession.uapi.FuncId`); the prototypes below follow
the descriptions in include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import re
import sys

from fsession.uapi import FuncId

PROTOTYPES = """
void *map_lookup_elem(void *map, const void *key)
long map_update_elem(void *map, const void *key, const void *value, __u64 flags)
long map_delete_elem(void *map, const void *key)
long map_push_elem(void *map, const void *value, __u64 flags)
long map_pop_elem(void *map, void *value)
long map_peek_elem(void *map, void *value)
void *map_lookup_percpu_elem(void *map, const void *key, __u32 cpu)
long for_each_map_elem(void *map, void *callback_fn, void *callback_ctx, __u64 flags)
long loop(__u32 nr_loops, void *callback_fn, void *callback_ctx, __u64 flags)
long probe_read(void *dst, __u32 size, const void *unsafe_ptr)
long probe_read_str(void *dst, __u32 size, const void *unsafe_ptr)
long probe_read_user(void *dst, __u32 size, const void *unsafe_ptr)
long probe_read_kernel(void *dst, __u32 size, const void *unsafe_ptr)
long probe_read_user_str(void *dst, __u32 size, const void *unsafe_ptr)
long probe_read_kernel_str(void *dst, __u32 size, const void *unsafe_ptr)
long copy_from_user(void *dst, __u32 size, const void *user_ptr)
long copy_from_user_task(void *dst, __u32 size, const void *src, struct task_struct *t, __u64 flags)
__u64 ktime_get_ns(void)
__u64 ktime_get_boot_ns(void)
__u64 ktime_get_coarse_ns(void)
__u64 ktime_get_tai_ns(void)
__u64 jiffies64(void)
long trace_printk(const char *fmt, __u32 fmt_size, ...)
long trace_vprintk(const char *fmt, __u32 fmt_size, const void *data, __u32 data_len)
long snprintf(char *str, __u32 str_size, const char *fmt, __u64 *data, __u32 data_len)
long snprintf_btf(char *str, __u32 str_size, struct btf_ptr *ptr, __u32 btf_ptr_size, __u64 flags)
long strncmp(const char *s1, __u32 s1_sz, const char *s2)
long strtol(const char *buf, unsigned long buf_len, __u64 flags, long *res)
long strtoul(const char *buf, unsigned long buf_len, __u64 flags, unsigned long *res)
__u32 get_prandom_u32(void)
__u32 get_smp_processor_id(void)
long get_numa_node_id(void)
__u64 get_current_pid_tgid(void)
__u64 get_current_uid_gid(void)
long get_current_comm(void *buf, __u32 size_of_buf)
__u64 get_current_task(void)
struct task_struct *get_current_task_btf(void)
__u64 get_current_cgroup_id(void)
__u64 get_current_ancestor_cgroup_id(int ancestor_level)
long current_task_under_cgroup(void *map, __u32 index)
long get_ns_current_pid_tgid(__u64 dev, __u64 ino, struct bpf_pidns_info *nsdata, __u32 size)
long task_pt_regs(struct task_struct *task)
long perf_event_output(void *ctx, void *map, __u64 flags, void *data, __u64 size)
__u64 perf_event_read(void *map, __u64 flags)
long perf_event_read_value(void *map, __u64 flags, struct bpf_perf_event_value *buf, __u32 buf_size)
long get_stackid(void *ctx, void *map, __u64 flags)
long get_stack(void *ctx, void *buf, __u32 size, __u64 flags)
long get_task_stack(struct task_struct *task, void *buf, __u32 size, __u64 flags)
long get_branch_snapshot(void *entries, __u32 size, __u64 flags)
void *ringbuf_reserve(void *ringbuf, __u64 size, __u64 flags)
void ringbuf_submit(void *data, __u64 flags)
void ringbuf_discard(void *data, __u64 flags)
long ringbuf_output(void *ringbuf, void *data, __u64 size, __u64 flags)
__u64 ringbuf_query(void *ringbuf, __u64 flags)
long ringbuf_reserve_dynptr(void *ringbuf, __u32 size, __u64 flags, struct bpf_dynptr *ptr)
void ringbuf_submit_dynptr(struct bpf_dynptr *ptr, __u64 flags)
void ringbuf_discard_dynptr(struct bpf_dynptr *ptr, __u64 flags)
long user_ringbuf_drain(void *map, void *callback_fn, void *ctx, __u64 flags)
long dynptr_from_mem(void *data, __u32 size, __u64 flags, struct bpf_dynptr *ptr)
long dynptr_read(void *dst, __u32 len, const struct bpf_dynptr *src, __u32 offset, __u64 flags)
long dynptr_write(const struct bpf_dynptr *dst, __u32 offset, void *src, __u32 len, __u64 flags)
void *dynptr_data(const struct bpf_dynptr *ptr, __u32 offset, __u32 len)
long tail_call(void *ctx, void *prog_array_map, __u32 index)
void *task_storage_get(void *map, struct task_struct *task, void *value, __u64 flags)
long task_storage_delete(void *map, struct task_struct *task)
void *cgrp_storage_get(void *map, struct cgroup *cgroup, void *value, __u64 flags)
long cgrp_storage_delete(void *map, struct cgroup *cgroup)
void *inode_storage_get(void *map, void *inode, void *value, __u64 flags)
int inode_storage_delete(void *map, void *inode)
void *sk_storage_get(void *map, void *sk, void *value, __u64 flags)
long sk_storage_delete(void *map, void *sk)
long spin_lock(struct bpf_spin_lock *lock)
long spin_unlock(struct bpf_spin_lock *lock)
void *per_cpu_ptr(const void *percpu_ptr, __u32 cpu)
void *this_cpu_ptr(const void *percpu_ptr)
void *kptr_xchg(void *dst, void *ptr)
long kallsyms_lookup_name(const char *name, int name_sz, int flags, __u64 *res)
long find_vma(struct task_struct *t, __u64 addr, void *callback_fn, void *ctx, __u64 flags)
long d_path(const struct path *path, char *buf, __u32 sz)
long ima_file_hash(struct file *file, void *dst, __u32 size)
long send_signal(__u32 sig)
long send_signal_thread(__u32 sig)
long override_return(struct pt_regs *regs, __u64 rc)
long probe_write_user(void *dst, const void *src, __u32 len)
__u64 get_func_ip(void *ctx)
__u64 get_attach_cookie(void *ctx)
long get_func_arg(void *ctx, __u32 n, __u64 *value)
long get_func_ret(void *ctx, __u64 *value)
long get_func_arg_cnt(void *ctx)
struct tcp6_sock *skc_to_tcp6_sock(void *sk)
struct tcp_sock *skc_to_tcp_sock(void *sk)
struct tcp_timewait_sock *skc_to_tcp_timewait_sock(void *sk)
struct tcp_request_sock *skc_to_tcp_request_sock(void *sk)
struct udp6_sock *skc_to_udp6_sock(void *sk)
struct unix_sock *skc_to_unix_sock(void *sk)
struct socket *sock_from_file(struct file *file)
long skb_output(void *ctx, void *map, __u64 flags, void *data, __u64 size)
__u64 get_socket_cookie(void *ctx)
long btf_find_by_name_kind(char *name, int name_sz, __u32 kind, int flags)
long sys_bpf(__u32 cmd, void *attr, __u32 attr_size)
long sys_close(__u32 fd)
long timer_init(struct bpf_timer *timer, void *map, __u64 flags)
long timer_set_callback(struct bpf_timer *timer, void *callback_fn)
long timer_start(struct bpf_timer *timer, __u64 nsecs, __u64 flags)
long timer_cancel(struct bpf_timer *timer)
"""

HEAD = """\
/* SPDX-License-Identifier: Apache-2.0 */
/* Generated by scripts/gen_helper_defs.py: the helpers that tracing programs may call. */
#ifndef FSESSION_BPF_HELPER_DEFS_H
#define FSESSION_BPF_HELPER_DEFS_H
"""

LINE = re.compile(r"^(?P<result>.*?[ *])(?P<name>\w+)\((?P<params>.*)\)$")


def declaration(line: str) -> str:
    """``static RESULT (* const bpf_NAME)(PARAMS) = (void *) NUMBER;``."""
    found = LINE.match(line)
    if found is None:
        raise SystemExit(f"gen_helper_defs.py: not a prototype: {line}")
    number = int(FuncId[found["name"]])
    return (
        f"static {found['result']}(* const bpf_{found['name']})({found['params']})"
        f" = (void *) {number};"
    )


def structs(lines: list[str]) -> list[str]:
    """Forward declarations of the structs that prototypes name."""
    names = sorted({name for line in lines for name in re.findall(r"struct (\w+)", line)})
    return [f"struct {name};" for name in names]


def main() -> None:
    lines = PROTOTYPES.strip().splitlines()
    body = [*structs(lines), "", *(declaration(line) for line in lines)]
    sys.stdout.write(HEAD + "\n" + "\n".join(body) + "\n\n#endif\n")


if __name__ == "__main__":
    main()
