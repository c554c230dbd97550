"""Kernel functions of tracing programs: what BTF does not say of them.

Flags are those that the kernel's sets of kfuncs have in its newest release here (7.3), and
TRUSTED_ARGS of the releases before 7.0; a test reads them from the memory of running kernels.
"""

from __future__ import annotations

from functools import cache

from fsession.calls.model import Kfunc, KfuncFlag, Only

__all__ = ["KFUNC_SOURCES", "find_kfunc", "kfuncs"]

KFUNC_SOURCES = {
    "fs/bpf_fs_kfuncs.c": """
        bpf_cgroup_read_xattr 6.17 RCU
        bpf_get_dentry_xattr 6.12 TRUSTED_ARGS SLEEPABLE only:lsm
        bpf_get_file_xattr 6.8 TRUSTED_ARGS SLEEPABLE only:lsm
        bpf_get_task_exe_file 6.12 ACQUIRE RET_NULL TRUSTED_ARGS only:lsm
        bpf_path_d_path 6.12 TRUSTED_ARGS only:lsm
        bpf_put_file 6.12 RELEASE only:lsm
        bpf_real_data_inode 7.2 RET_NULL SLEEPABLE only:lsm
        bpf_remove_dentry_xattr 6.15 SLEEPABLE only:lsm
        bpf_set_dentry_xattr 6.15 SLEEPABLE only:lsm
    """,
    "fs/verity/measure.c": """
        bpf_get_fsverity_digest 6.8 TRUSTED_ARGS only:lsm
    """,
    "kernel/bpf/arena.c": """
        bpf_arena_alloc_pages 6.9 TRUSTED_ARGS
        bpf_arena_free_pages 6.9 TRUSTED_ARGS
        bpf_arena_reserve_pages 6.17
    """,
    "kernel/bpf/bpf_iter.c": """
        bpf_iter_num_destroy 6.4 ITER_DESTROY
        bpf_iter_num_new 6.4 ITER_NEW
        bpf_iter_num_next 6.4 RET_NULL ITER_NEXT
    """,
    "kernel/bpf/cgroup_iter.c": """
        bpf_iter_css_destroy 6.7 ITER_DESTROY
        bpf_iter_css_new 6.7 TRUSTED_ARGS ITER_NEW RCU_PROTECTED
        bpf_iter_css_next 6.7 RET_NULL ITER_NEXT
    """,
    "kernel/bpf/cpumask.c": """
        bpf_cpumask_acquire 6.3 ACQUIRE TRUSTED_ARGS
        bpf_cpumask_and 6.3 RCU
        bpf_cpumask_any_and_distribute 6.5 RCU
        bpf_cpumask_any_distribute 6.5 RCU
        bpf_cpumask_clear 6.3 RCU
        bpf_cpumask_clear_cpu 6.3 RCU
        bpf_cpumask_copy 6.3 RCU
        bpf_cpumask_create 6.3 ACQUIRE RET_NULL
        bpf_cpumask_empty 6.3 RCU
        bpf_cpumask_equal 6.3 RCU
        bpf_cpumask_first 6.3 RCU
        bpf_cpumask_first_and 6.5 RCU
        bpf_cpumask_first_zero 6.3 RCU
        bpf_cpumask_full 6.3 RCU
        bpf_cpumask_intersects 6.3 RCU
        bpf_cpumask_or 6.3 RCU
        bpf_cpumask_populate 6.15 RCU
        bpf_cpumask_release 6.3 RELEASE
        bpf_cpumask_set_cpu 6.3 RCU
        bpf_cpumask_setall 6.3 RCU
        bpf_cpumask_subset 6.3 RCU
        bpf_cpumask_test_and_clear_cpu 6.3 RCU
        bpf_cpumask_test_and_set_cpu 6.3 RCU
        bpf_cpumask_test_cpu 6.3 RCU
        bpf_cpumask_weight 6.8 RCU
        bpf_cpumask_xor 6.3 RCU
    """,
    "kernel/bpf/dmabuf_iter.c": """
        bpf_iter_dmabuf_destroy 6.16 SLEEPABLE ITER_DESTROY
        bpf_iter_dmabuf_new 6.16 SLEEPABLE ITER_NEW
        bpf_iter_dmabuf_next 6.16 RET_NULL SLEEPABLE ITER_NEXT
    """,
    "kernel/bpf/helpers.c": """
        bpf_cast_to_kern_ctx 6.2
        bpf_cgroup_acquire 6.2 ACQUIRE RET_NULL RCU
        bpf_cgroup_ancestor 6.2 ACQUIRE RET_NULL RCU
        bpf_cgroup_from_id 6.4 ACQUIRE RET_NULL
        bpf_cgroup_release 6.2 RELEASE
        bpf_copy_from_user_str 6.12 SLEEPABLE
        bpf_copy_from_user_task_str 6.15 SLEEPABLE
        bpf_dynptr_adjust 6.5
        bpf_dynptr_clone 6.5
        bpf_dynptr_copy 6.15
        bpf_dynptr_file_discard 6.19 RELEASE
        bpf_dynptr_from_file 6.19
        bpf_dynptr_is_null 6.5
        bpf_dynptr_is_rdonly 5.19
        bpf_dynptr_memset 6.17
        bpf_dynptr_size 6.5
        bpf_dynptr_slice 6.4 RET_NULL
        bpf_dynptr_slice_rdwr 6.4 RET_NULL
        bpf_iter_bits_destroy 6.11 ITER_DESTROY
        bpf_iter_bits_new 6.11 ITER_NEW
        bpf_iter_bits_next 6.11 RET_NULL ITER_NEXT
        bpf_list_add 7.2
        bpf_list_back 6.16 RET_NULL
        bpf_list_del 7.2 ACQUIRE RET_NULL
        bpf_list_empty 7.2
        bpf_list_front 6.16 RET_NULL
        bpf_list_is_first 7.2
        bpf_list_is_last 7.2
        bpf_list_pop_back 6.2 ACQUIRE RET_NULL
        bpf_list_pop_front 6.2 ACQUIRE RET_NULL
        bpf_list_push_back 7.1
        bpf_list_push_back_impl 6.4
        bpf_list_push_front 7.1
        bpf_list_push_front_impl 6.4
        bpf_local_irq_restore 6.14
        bpf_local_irq_save 6.14
        bpf_obj_drop 7.1 RELEASE
        bpf_obj_drop_impl 6.2 RELEASE
        bpf_obj_new 7.1 ACQUIRE RET_NULL
        bpf_obj_new_impl 6.2 ACQUIRE RET_NULL
        bpf_percpu_obj_drop 7.1 RELEASE
        bpf_percpu_obj_drop_impl 6.7 RELEASE
        bpf_percpu_obj_new 7.1 ACQUIRE RET_NULL
        bpf_percpu_obj_new_impl 6.7 ACQUIRE RET_NULL
        bpf_preempt_disable 6.10
        bpf_preempt_enable 6.10
        bpf_rbtree_add 7.1
        bpf_rbtree_add_impl 6.4
        bpf_rbtree_first 6.3 RET_NULL
        bpf_rbtree_left 6.16 RET_NULL
        bpf_rbtree_remove 6.3 ACQUIRE RET_NULL
        bpf_rbtree_right 6.16 RET_NULL
        bpf_rbtree_root 6.16 RET_NULL
        bpf_rcu_read_lock 6.2
        bpf_rcu_read_unlock 6.2
        bpf_rdonly_cast 6.2
        bpf_refcount_acquire 7.1 ACQUIRE RET_NULL RCU
        bpf_refcount_acquire_impl 6.4 ACQUIRE RET_NULL RCU
        bpf_strcasecmp 6.18
        bpf_strcasestr 6.19
        bpf_strchr 6.17
        bpf_strchrnul 6.17
        bpf_strcmp 6.17
        bpf_strcspn 6.17
        bpf_strlen 6.17
        bpf_strncasecmp 7.0
        bpf_strncasestr 6.19
        bpf_strnchr 6.17
        bpf_strnlen 7.0
        bpf_strnstr 6.17
        bpf_strrchr 6.17
        bpf_strspn 6.17
        bpf_strstr 6.17
        bpf_task_acquire 6.2 ACQUIRE RET_NULL RCU
        bpf_task_from_pid 6.2 ACQUIRE RET_NULL
        bpf_task_from_vpid 6.13 ACQUIRE RET_NULL
        bpf_task_get_cgroup1 6.8 ACQUIRE RET_NULL RCU
        bpf_task_release 6.2 RELEASE
        bpf_task_under_cgroup 6.5 RCU
        bpf_task_work_schedule_resume 7.0
        bpf_task_work_schedule_signal 7.0
        bpf_throw 6.7
        bpf_timer_cancel_async 7.0
        bpf_wq_init 6.10
        bpf_wq_set_callback 7.0
        bpf_wq_set_callback_impl 6.10
        bpf_wq_start 6.10
        crash_kexec 6.1 DESTRUCTIVE
    """,
    "kernel/bpf/kmem_cache_iter.c": """
        bpf_iter_kmem_cache_destroy 6.13 SLEEPABLE ITER_DESTROY
        bpf_iter_kmem_cache_new 6.13 SLEEPABLE ITER_NEW
        bpf_iter_kmem_cache_next 6.13 RET_NULL SLEEPABLE ITER_NEXT
    """,
    "kernel/bpf/map_iter.c": """
        bpf_map_sum_elem_count 6.6 TRUSTED_ARGS
    """,
    "kernel/bpf/rqspinlock.c": """
        bpf_res_spin_lock 6.15 RET_NULL
        bpf_res_spin_lock_irqsave 6.15 RET_NULL
        bpf_res_spin_unlock 6.15
        bpf_res_spin_unlock_irqrestore 6.15
    """,
    "kernel/bpf/stream.c": """
        bpf_stream_print_stack 7.0
        bpf_stream_vprintk 7.0
    """,
    "kernel/bpf/task_iter.c": """
        bpf_iter_css_task_destroy 6.7 ITER_DESTROY
        bpf_iter_css_task_new 6.7 TRUSTED_ARGS ITER_NEW
        bpf_iter_css_task_next 6.7 RET_NULL ITER_NEXT
        bpf_iter_task_destroy 6.7 ITER_DESTROY
        bpf_iter_task_new 6.7 TRUSTED_ARGS ITER_NEW RCU_PROTECTED
        bpf_iter_task_next 6.7 RET_NULL ITER_NEXT
        bpf_iter_task_vma_destroy 6.7 ITER_DESTROY
        bpf_iter_task_vma_new 6.7 RCU ITER_NEW
        bpf_iter_task_vma_next 6.7 RET_NULL ITER_NEXT
    """,
    "kernel/cgroup/rstat.c": """
        cgroup_rstat_flush 6.1 SLEEPABLE
        cgroup_rstat_updated 6.1
        css_rstat_flush 6.16 SLEEPABLE
        css_rstat_updated 6.16
    """,
    "kernel/sched/ext.c": """
        bpf_iter_scx_dsq_destroy 6.12 ITER_DESTROY
        bpf_iter_scx_dsq_new 6.12 ITER_NEW RCU_PROTECTED
        bpf_iter_scx_dsq_next 6.12 RET_NULL ITER_NEXT
        scx_bpf_cid_curr 7.2 RET_NULL RCU_PROTECTED
        scx_bpf_cid_to_cpu 7.2
        scx_bpf_cid_topo 7.2
        scx_bpf_cidperf_cap 7.2
        scx_bpf_cidperf_cur 7.2
        scx_bpf_cidperf_set 7.2
        scx_bpf_cpu_curr 6.18 RET_NULL RCU_PROTECTED
        scx_bpf_cpu_rq 6.12
        scx_bpf_cpu_to_cid 7.2
        scx_bpf_cpuperf_cap 6.12
        scx_bpf_cpuperf_cur 6.12
        scx_bpf_cpuperf_set 6.12
        scx_bpf_destroy_dsq 6.12
        scx_bpf_dsq_nr_queued 6.12
        scx_bpf_dsq_peek 6.19 RET_NULL RCU_PROTECTED
        scx_bpf_dsq_reenq 7.1
        scx_bpf_dump_bstr 6.12
        scx_bpf_error_bstr 6.12
        scx_bpf_events 6.15
        scx_bpf_exit_bstr 6.12
        scx_bpf_get_online_cpumask 6.12 ACQUIRE
        scx_bpf_get_possible_cpumask 6.12 ACQUIRE
        scx_bpf_kick_cid 7.2
        scx_bpf_kick_cpu 6.12
        scx_bpf_locked_rq 6.18 RET_NULL
        scx_bpf_now 6.14
        scx_bpf_nr_cids 7.2
        scx_bpf_nr_cpu_ids 6.12
        scx_bpf_nr_online_cids 7.2
        scx_bpf_online_cmask 7.3
        scx_bpf_put_cpumask 6.12 RELEASE
        scx_bpf_reenqueue_local___v2 6.19
        scx_bpf_sub_caps 7.3
        scx_bpf_sub_grant 7.3
        scx_bpf_sub_kill_bstr 7.3
        scx_bpf_sub_revoke 7.3
        scx_bpf_task_cgroup 6.12 ACQUIRE RCU
        scx_bpf_task_cid 7.2 RCU
        scx_bpf_task_cpu 6.12 RCU
        scx_bpf_task_running 6.12 RCU
        scx_bpf_task_set_dsq_vtime 6.19 RCU
        scx_bpf_task_set_slice 6.19 RCU
        scx_bpf_this_cid 7.2
        scx_bpf_tid_to_task 7.2 RET_NULL RCU_PROTECTED
    """,
    "kernel/sched/ext_idle.c": """
        scx_bpf_cpu_node 6.15
        scx_bpf_get_idle_cpumask 6.12 ACQUIRE
        scx_bpf_get_idle_cpumask_node 6.15 ACQUIRE
        scx_bpf_get_idle_smtmask 6.12 ACQUIRE
        scx_bpf_get_idle_smtmask_node 6.15 ACQUIRE
        scx_bpf_nr_node_ids 6.15
        scx_bpf_pick_any_cpu 6.12 RCU
        scx_bpf_pick_any_cpu_node 6.15 RCU
        scx_bpf_pick_idle_cpu 6.12 RCU
        scx_bpf_pick_idle_cpu_node 6.15 RCU
        scx_bpf_put_idle_cpumask 6.12 RELEASE
        scx_bpf_test_and_clear_cpu_idle 6.12
    """,
    "kernel/trace/bpf_trace.c": """
        bpf_copy_from_user_dynptr 6.16 SLEEPABLE
        bpf_copy_from_user_str_dynptr 6.16 SLEEPABLE
        bpf_copy_from_user_task_dynptr 6.16 SLEEPABLE
        bpf_copy_from_user_task_str_dynptr 6.16 SLEEPABLE
        bpf_key_put 6.1 RELEASE
        bpf_lookup_system_key 6.1 ACQUIRE RET_NULL
        bpf_lookup_user_key 6.1 ACQUIRE RET_NULL SLEEPABLE
        bpf_probe_read_kernel_dynptr 6.16
        bpf_probe_read_kernel_str_dynptr 6.16
        bpf_probe_read_user_dynptr 6.16
        bpf_probe_read_user_str_dynptr 6.16
        bpf_send_signal_task 6.13
        bpf_session_cookie 7.0 only:fsession
        bpf_session_is_return 7.0 only:fsession
        bpf_verify_pkcs7_signature 6.1 SLEEPABLE
    """,
    "mm/bpf_memcontrol.c": """
        bpf_get_mem_cgroup 7.0 ACQUIRE RET_NULL RCU
        bpf_get_root_mem_cgroup 7.0 ACQUIRE RET_NULL
        bpf_mem_cgroup_flush_stats 7.0 SLEEPABLE
        bpf_mem_cgroup_memory_events 7.0
        bpf_mem_cgroup_page_state 7.0
        bpf_mem_cgroup_usage 7.0
        bpf_mem_cgroup_vm_events 7.0
        bpf_put_mem_cgroup 7.0 RELEASE
    """,
    "mm/slab_common.c": """
        bpf_get_kmem_cache 6.13
    """,
    "net/core/filter.c": """
        bpf_dynptr_from_skb 6.4 TRUSTED_ARGS
        bpf_sock_destroy 6.5 TRUSTED_ARGS only:iter
    """,
}
"""By the kernel's files: name, first release, `KfuncFlag`s, and where it is allowed."""

_ONLY = "only:"


@cache
def kfuncs() -> dict[str, Kfunc]:
    """All of the table, by name."""
    rows = (
        (source, line.split())
        for source, text in KFUNC_SOURCES.items()
        for line in text.strip().splitlines()
    )
    return {row[0]: _kfunc(source, row) for source, row in rows}


def find_kfunc(name: str) -> Kfunc | None:
    """None: not in this table, which says nothing of whether a kernel has it."""
    return kfuncs().get(name)


def _kfunc(source: str, row: list[str]) -> Kfunc:
    name, since, *words = row
    flags, only = KfuncFlag(0), Only.EVERYWHERE
    for word in words:
        if word.startswith(_ONLY):
            only = Only[word.removeprefix(_ONLY).upper()]
        else:
            flags |= KfuncFlag[word]
    return Kfunc(name, since, source, flags, only)
