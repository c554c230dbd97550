"""The arguments of one call of a kernel function, by its prototype."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Enum, Enum64, FuncProto, Int, Ptr, Struct, TypeId, Union, Void
from fsession.calls import KfuncFlag
from fsession.frozen import frozen
from fsession.verify import dynptrs, iterators
from fsession.verify.args import check_memory, check_size, is_null, struct_fits, wrong_type
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.prune import need
from fsession.verify.state import Flag, Kind, Reg
from fsession.verify.structs import StructRef, pointee
from fsession.verify.trust import is_trusted

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.calls import Kfunc
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["KfuncTarget", "check_args"]

_TRUSTED_FROM = (7, 0)  # since then pointers given to kfuncs must be valid ones, for all kfuncs


@frozen
class KfuncTarget:
    """The function that is called: `types` is where its prototype is."""

    name: str
    types: Types
    proto: FuncProto
    kfunc: Kfunc

    def has(self, flag: KfuncFlag) -> bool:
        return flag in self.kfunc.flags


def check_args(walk: Walk, state: State, target: KfuncTarget) -> None:
    params = target.proto.params
    if len(params) > 5:
        raise RefusedError(f"Function {target.name} has {len(params)} > 5 args")
    number = 0
    while number < len(params):
        number += 1
        param = params[number - 1]
        reg = walk.readable(state, number)
        if param.name.endswith("__ign"):
            continue
        kind = target.types[target.types.strip(param.type)]
        if isinstance(kind, Int | Enum | Enum64):
            _check_number(walk, state, target, number, reg, param.name)
        elif isinstance(kind, Ptr):
            number += _check_pointer(walk, state, target, number, reg, param.name, param.type)
        else:
            raise NotJudgedError(f"argument {number} of {target.name}")


def _check_number(
    walk: Walk, state: State, target: KfuncTarget, number: int, reg: Reg, name: str
) -> None:
    if not reg.is_scalar:
        raise RefusedError(f"R{number} is not a scalar", regs=(number,))
    if name.endswith("__k"):
        need(state, reg.deps)
        if reg.range.mask:
            raise RefusedError(f"R{number} must be a known constant", regs=(number,))


_OTHER = ("__alloc", "__map", "__prog", "__str", "__irq_flag", "__refcounted_kptr", "__impl")


def _check_pointer(
    walk: Walk, state: State, target: KfuncTarget, number: int, reg: Reg, name: str, id: TypeId
) -> int:
    """Check one pointer; 1 if the next argument, its size, was checked with it."""
    if name.endswith(_OTHER) or name == "aux":
        raise NotJudgedError(f"argument {number} of {target.name}")
    nullable = name.endswith(("__nullable", "__opt"))
    params = target.proto.params
    sized = len(params) > number and params[number].name.endswith(("__sz", "__szk"))
    if nullable and is_null(reg) and not sized:
        need(state, reg.deps)
        return 0
    struct = pointee(target.types, id)
    if struct is not None and struct.name.startswith("bpf_iter_"):
        _check_iterator(walk, state, target, number, struct)
        return 0
    if struct is not None and struct.name == "bpf_dynptr":
        if name.endswith("__uninit"):
            dynptrs.clone(walk, state, number - 1, number)
        else:
            dynptrs.find(walk, state, number)
        return 0
    if struct is not None and struct.name in _ODD_STRUCTS:
        raise NotJudgedError(f"struct {struct.name}, argument {number} of {target.name}")
    if sized:
        if not (nullable and is_null(reg)):
            check_size(walk, state, number + 1, zero=True, write=True, fills=False)
        if params[number].name.endswith("__szk"):
            size = walk.readable(state, number + 1)
            need(state, size.deps)
            if not size.is_scalar or size.range.mask:
                raise RefusedError(f"R{number + 1} must be a known constant", regs=(number + 1,))
        return 1
    if reg.kind == Kind.BTF and struct is not None:
        _check_struct(walk, state, target, number, reg, struct)
        return 0
    if is_null(reg):
        raise RefusedError(
            f"Possibly NULL pointer passed to trusted arg{number - 1}", regs=(number,)
        )
    _check_plain(walk, state, target, number, reg, id, struct)
    return 0


_ODD_STRUCTS = {
    "bpf_dynptr_kern", "bpf_list_head", "bpf_list_node", "bpf_rb_root",
    "bpf_rb_node", "bpf_wq", "bpf_timer", "bpf_task_work", "bpf_res_spin_lock", "bpf_refcount",
}  # fmt: skip


def _check_plain(
    walk: Walk,
    state: State,
    target: KfuncTarget,
    number: int,
    reg: Reg,
    id: TypeId,
    struct: StructRef | None,
) -> None:
    """Memory of the program for a pointer to numbers, or a struct of numbers."""
    types = target.types
    inner = types.strip(types.ref(types.strip(id)))
    if types.kind_of(inner) is Void or (struct is not None and not _is_plain(types, struct.id)):
        raise NotJudgedError(f"argument {number} of {target.name}")
    if reg.kind not in (Kind.STACK, Kind.MAP_VALUE, Kind.MEM):
        if reg.may_be_null:
            raise RefusedError(
                f"Possibly NULL pointer passed to trusted arg{number - 1}", regs=(number,)
            )
        raise wrong_type(number, reg, "fp")
    check_memory(walk, state, number, types.size_of(inner), write=True)


def _is_plain(types: Types, id: TypeId) -> bool:
    kind = types[types.strip(id)]
    if isinstance(kind, Struct | Union):
        return all(_is_plain(types, member.type) for member in kind.members)
    return isinstance(kind, Int | Enum | Enum64)


def _check_struct(
    walk: Walk, state: State, target: KfuncTarget, number: int, reg: Reg, struct: StructRef
) -> None:
    must = (
        walk.limits.version >= _TRUSTED_FROM
        or target.has(KfuncFlag.TRUSTED_ARGS)
        or target.has(KfuncFlag.RCU)
        or target.has(KfuncFlag.RELEASE)
    )
    if reg.may_be_null:
        raise RefusedError(
            f"Possibly NULL pointer passed to trusted arg{number - 1}",
            advice="compare it with 0 first",
            regs=(number,),
        )
    if target.has(KfuncFlag.RELEASE) and number == 1 and not reg.ref:
        raise RefusedError(f"R{number} must be referenced", regs=(number,))
    if reg.flags & (Flag.UNTRUSTED | Flag.USER | Flag.PERCPU):
        raise RefusedError(f"R{number} must be referenced or trusted", regs=(number,))
    if must and not is_trusted(reg):
        if not target.has(KfuncFlag.RCU):
            raise RefusedError(
                f"R{number} must be referenced or trusted",
                advice="arguments of fentry, fexit and sessions are not trusted; "
                "bpf_get_current_task_btf() and acquired pointers are",
                regs=(number,),
            )
        if not reg.flags & Flag.RCU:
            raise RefusedError(f"R{number} must be a rcu pointer", regs=(number,))
    off = reg.off + reg.range.smin
    if reg.range.mask or (off and (target.has(KfuncFlag.RELEASE))):
        raise RefusedError(f"R{number} must have zero offset when passed to release func")
    other = reg.flags & Flag.ALLOC or not struct_fits(reg.aux, off, struct.name)
    if off < 0 or other:
        raise RefusedError(
            f"kernel function {target.name} args#{number - 1} expected pointer to STRUCT "
            f"{struct.name} but R{number} has a pointer to STRUCT {reg.aux.name}",
            regs=(number,),
        )


def _check_iterator(
    walk: Walk, state: State, target: KfuncTarget, number: int, struct: StructRef
) -> None:
    name = struct.name.removeprefix("bpf_")
    size = target.types.size_of(struct.id)
    if target.has(KfuncFlag.ITER_NEW):
        if name not in _ITERATORS:
            raise NotJudgedError(f"the iterator {struct.name}")
        if name == "iter_css_task" and not state.sleepable:
            raise RefusedError(
                "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs"
            )
        rcu = target.has(KfuncFlag.RCU_PROTECTED)
        iterators.new(walk, state, number, name, size, rcu=rcu)
    elif target.has(KfuncFlag.ITER_DESTROY):
        depth, slots = iterators.find(walk, state, number, name, size)
        iterators.destroy(walk, state, depth, slots)
    else:
        raise NotJudgedError(f"argument {number} of {target.name}")


_ITERATORS = {
    "iter_num", "iter_bits", "iter_task", "iter_task_vma",
    "iter_css", "iter_css_task", "iter_kmem_cache", "iter_dmabuf",
}  # fmt: skip
