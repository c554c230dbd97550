"""Which helpers work on which kinds of maps, and which maps a program may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.uapi import FuncId, MapType
from fsession.verify.problem import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fsession.spec import MapSpec

__all__ = ["check_map_call", "check_sleepable_map"]

_PERF = {
    FuncId.perf_event_read,
    FuncId.perf_event_output,
    FuncId.perf_event_read_value,
    FuncId.skb_output,
    FuncId.xdp_output,
}
_RINGBUF = {
    FuncId.ringbuf_output,
    FuncId.ringbuf_reserve,
    FuncId.ringbuf_query,
    FuncId.ringbuf_reserve_dynptr,
    FuncId.ringbuf_submit_dynptr,
    FuncId.ringbuf_discard_dynptr,
}
_QUEUE = {FuncId.map_peek_elem, FuncId.map_pop_elem, FuncId.map_push_elem}
_PERCPU_LOOKUP = {
    MapType.PERCPU_ARRAY,
    MapType.PERCPU_HASH,
    MapType.LRU_PERCPU_HASH,
}

_CALLS_OF: Mapping[MapType, set[FuncId]] = {
    MapType.PROG_ARRAY: {FuncId.tail_call},
    MapType.PERF_EVENT_ARRAY: _PERF,
    MapType.RINGBUF: _RINGBUF,
    MapType.USER_RINGBUF: {FuncId.user_ringbuf_drain},
    MapType.STACK_TRACE: {FuncId.get_stackid},
    MapType.CGROUP_ARRAY: {FuncId.skb_under_cgroup, FuncId.current_task_under_cgroup},
    MapType.ARRAY_OF_MAPS: {FuncId.map_lookup_elem},
    MapType.HASH_OF_MAPS: {FuncId.map_lookup_elem},
    MapType.QUEUE: _QUEUE,
    MapType.STACK: _QUEUE,
    MapType.BLOOM_FILTER: {FuncId.map_peek_elem, FuncId.map_push_elem},
    MapType.SK_STORAGE: {FuncId.sk_storage_get, FuncId.sk_storage_delete, FuncId.kptr_xchg},
    MapType.TASK_STORAGE: {FuncId.task_storage_get, FuncId.task_storage_delete, FuncId.kptr_xchg},
    MapType.CGRP_STORAGE: {FuncId.cgrp_storage_get, FuncId.cgrp_storage_delete, FuncId.kptr_xchg},
}
"""Maps that only these helpers take."""

_MAPS_OF: Mapping[FuncId, set[MapType]] = {
    FuncId.tail_call: {MapType.PROG_ARRAY},
    **{call: {MapType.PERF_EVENT_ARRAY} for call in _PERF},
    **{call: {MapType.RINGBUF} for call in _RINGBUF},
    FuncId.user_ringbuf_drain: {MapType.USER_RINGBUF},
    FuncId.get_stackid: {MapType.STACK_TRACE},
    FuncId.current_task_under_cgroup: {MapType.CGROUP_ARRAY},
    FuncId.map_peek_elem: {MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER},
    FuncId.map_push_elem: {MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER},
    FuncId.map_pop_elem: {MapType.QUEUE, MapType.STACK},
    FuncId.map_lookup_percpu_elem: _PERCPU_LOOKUP,
    FuncId.sk_storage_get: {MapType.SK_STORAGE},
    FuncId.sk_storage_delete: {MapType.SK_STORAGE},
    FuncId.task_storage_get: {MapType.TASK_STORAGE},
    FuncId.task_storage_delete: {MapType.TASK_STORAGE},
    FuncId.cgrp_storage_get: {MapType.CGRP_STORAGE},
    FuncId.cgrp_storage_delete: {MapType.CGRP_STORAGE},
    FuncId.for_each_map_elem: {
        MapType.HASH,
        MapType.PERCPU_HASH,
        MapType.LRU_HASH,
        MapType.LRU_PERCPU_HASH,
        MapType.ARRAY,
        MapType.PERCPU_ARRAY,
    },
}
"""Helpers that only take these maps."""

_PLAIN = {
    MapType.HASH,
    MapType.ARRAY,
    MapType.PERCPU_HASH,
    MapType.PERCPU_ARRAY,
    MapType.LRU_HASH,
    MapType.LRU_PERCPU_HASH,
}
_SLEEPABLE = {
    *_PLAIN,
    MapType.ARRAY_OF_MAPS,
    MapType.HASH_OF_MAPS,
    MapType.RINGBUF,
    MapType.USER_RINGBUF,
    MapType.SK_STORAGE,
    MapType.INODE_STORAGE,
    MapType.TASK_STORAGE,
    MapType.CGRP_STORAGE,
    MapType.QUEUE,
    MapType.STACK,
}
_GENERIC = {
    FuncId.map_lookup_elem,
    FuncId.map_update_elem,
    FuncId.map_delete_elem,
}


def check_map_call(spec: MapSpec, helper: FuncId) -> None:
    """Raises where `helper` does not take this kind of map."""
    calls, maps = _CALLS_OF.get(spec.type), _MAPS_OF.get(helper)
    bad = calls is not None and helper not in calls
    bad = bad or (maps is not None and spec.type not in maps)
    if helper in _GENERIC and calls is None and spec.type not in _PLAIN | {MapType.LPM_TRIE}:
        bad = True
    if bad:
        raise RefusedError(
            f"cannot pass map_type {int(spec.type)} into func bpf_{helper.name}#{int(helper)}",
            advice=f"map '{spec.name}' is a {spec.type.name}",
        )


def check_sleepable_map(spec: MapSpec) -> None:
    if spec.type not in _SLEEPABLE:
        raise RefusedError(
            "Sleepable programs can only use array, hash, ringbuf and local storage maps",
            advice=f"map '{spec.name}' is a {spec.type.name}",
        )
