"""Loads through a pointer to a map itself: the fields of its structure, by the kind of map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Struct
from fsession.uapi import MapType
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.state import Kind, pointer
from fsession.verify.structs import StructRef, load_member

if TYPE_CHECKING:
    from fsession.verify.state import Reg, State
    from fsession.verify.walk import Walk

__all__ = ["load_field", "struct_of_map"]

_STRUCTS = {
    "bpf_array": "ARRAY PERCPU_ARRAY PROG_ARRAY PERF_EVENT_ARRAY CGROUP_ARRAY ARRAY_OF_MAPS",
    "bpf_htab": "HASH PERCPU_HASH LRU_HASH LRU_PERCPU_HASH HASH_OF_MAPS",
    "bpf_ringbuf_map": "RINGBUF USER_RINGBUF",
    "bpf_queue_stack": "QUEUE STACK",
    "bpf_stack_map": "STACK_TRACE",
    "lpm_trie": "LPM_TRIE",
    "bpf_bloom_filter": "BLOOM_FILTER",
    "bpf_local_storage_map": "SK_STORAGE INODE_STORAGE TASK_STORAGE CGRP_STORAGE",
}
"""``map_btf_id`` of the kernel's ``struct bpf_map_ops``."""

_STRUCT_OF = {MapType[name]: struct for struct, names in _STRUCTS.items() for name in names.split()}


def struct_of_map(type: MapType) -> str:
    """The name of the kernel's structure of such a map, "" if it is not known here."""
    return _STRUCT_OF.get(type, "")


def load_field(walk: Walk, state: State, number: int, reg: Reg, off: int, size: int) -> Reg:
    """What ``*(size *)(rN + off)`` gives, rN pointing to a map."""
    name, types = struct_of_map(reg.aux.type), walk.subject.types
    id = types.find(name, Struct) if types is not None and name else None
    if types is None or id is None:
        raise NotJudgedError("the fields of this kind of map")
    if off + reg.off < 0:
        raise RefusedError(
            f"R{number} is {name} invalid negative access: off={off + reg.off}", regs=(number,)
        )
    held = pointer(Kind.BTF, StructRef(types, id, name), off=reg.off)
    return load_member(walk, state, number, held, off, size)
