"""How far a pointer may be trusted that was found in a structure.

Three grades: *trusted* (surely valid as long as the program runs), *rcu* (valid until the RCU
section ends), and the old plain pointers, which can be followed by loads that do not fault but not
be given to kfuncs that ask for trust. Untrusted ones can only be read through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.verify.state import Flag

if TYPE_CHECKING:
    from fsession.verify.state import Reg, State
    from fsession.verify.structs import StructRef
    from fsession.verify.walk import Walk

__all__ = ["in_rcu", "is_trusted", "member_flags"]

# Members that are as trusted as the structure they are in, by the struct's name. Linux names them
# by declarations in kernel/bpf/verifier.c: BTF_TYPE_SAFE_TRUSTED, _RCU, _RCU_OR_NULL and
# _TRUSTED_OR_NULL. Those not listed give a plain or untrusted pointer, which is less.
_TRUSTED = {
    "bpf_iter_meta": {"seq"},
    "bpf_iter__task": {"meta", "task"},
    "linux_binprm": {"file"},
    "file": {"f_inode"},
}
_RCU = {
    "task_struct": {"cpus_ptr", "css_set", "real_parent", "group_leader"},
    "cgroup": {"kn"},
    "css_set": {"dfl_cgrp"},
}
_RCU_OR_NULL = {
    "mm_struct": {"exe_file"},
    "sk_buff": {"sk"},
    "request_sock": {"sk"},
}
_TRUSTED_OR_NULL = {"socket": {"sk"}}


def in_rcu(walk: Walk, state: State) -> bool:
    """A program that can't sleep is in an RCU section as a whole; a lock is one, too."""
    return bool(state.rcu or state.lock) or not state.sleepable


def is_trusted(reg: Reg) -> bool:
    """Referenced pointers, and those marked so, are (``is_trusted_reg``)."""
    return bool(reg.ref or (reg.flags & Flag.TRUSTED and not reg.flags & Flag.MAYBE_NULL))


def member_flags(
    walk: Walk, state: State, reg: Reg, holder: StructRef, member: str, tags: set[str]
) -> int:
    """The flags of the pointer in `member`, found by following `reg`."""
    kept = (Flag.USER if "user" in tags else 0) | (Flag.PERCPU if "percpu" in tags else 0)
    if reg.flags & Flag.UNTRUSTED:
        return int(kept | Flag.UNTRUSTED)
    if not (is_trusted(reg) or reg.flags & Flag.RCU):
        return int(kept)
    name = holder.types.name_of(holder.id)
    if member in _TRUSTED.get(name, ()):
        return int(kept | Flag.TRUSTED)
    if member in _TRUSTED_OR_NULL.get(name, ()):
        return int(kept | Flag.TRUSTED | Flag.MAYBE_NULL)
    if not in_rcu(walk, state) or reg.flags & Flag.MAYBE_NULL:
        return int(kept | Flag.UNTRUSTED)
    if member in _RCU.get(name, ()):
        return int(kept | Flag.RCU)
    if "rcu" in tags or member in _RCU_OR_NULL.get(name, ()):
        return int(kept | Flag.RCU | Flag.MAYBE_NULL)
    return int(kept)
