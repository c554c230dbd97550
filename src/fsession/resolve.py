"""A program's relocations made into instructions for one host: the last pure step before a load.

Maps become file descriptors, kernel functions and variables BTF ids, symbols addresses, and what
depends on the layout of the kernel's types (CO-RE) the numbers of this kernel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.btf.strings import essential
from fsession.btf.types import Enum, Enum64, Float, Func, Int, Ptr, Typedef, TypeId, Var
from fsession.errors import BadInputError, InternalError, NotFoundError, UnsupportedError
from fsession.host import Fd, LoadRequest
from fsession.isa.insn import Insn, InsnOff, call_helper, lddw, load_map_fd, load_map_value, offsets
from fsession.isa.opcode import CALL_KFUNC, POISON, Pseudo
from fsession.spec import CoreRelo, KfuncCall, KsymRef, MapRef, MapValueRef
from fsession.uapi import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fsession.btf.catalog import Types
    from fsession.btf.core import Relocator
    from fsession.btf.types import Type
    from fsession.host import Host, Map, Program
    from fsession.spec import ProgramSpec, Reloc

__all__ = ["find_function", "resolve"]

_SINCE = {
    "bpf_session_is_return": "Linux 7.0",
    "bpf_session_cookie": "Linux 7.0",
    "bpf_cast_to_kern_ctx": "Linux 6.2",
    "bpf_rdonly_cast": "Linux 6.2",
    "bpf_rcu_read_lock": "Linux 6.2",
    "bpf_rcu_read_unlock": "Linux 6.2",
    "bpf_task_from_pid": "Linux 6.2",
    "bpf_cpumask_create": "Linux 6.3",
    "bpf_dynptr_slice": "Linux 6.4",
    "bpf_iter_num_new": "Linux 6.4",
    "bpf_iter_num_next": "Linux 6.4",
    "bpf_iter_num_destroy": "Linux 6.4",
    "bpf_iter_task_new": "Linux 6.7",
    "bpf_get_task_exe_file": "Linux 6.12",
    "bpf_copy_from_user_str": "Linux 6.12",
}
_NEAR = 3
# Tracepoints, iterators and security hooks: what their BTF type is named after.
_NAMED_TARGETS: dict[AttachType, tuple[str, type[Type]]] = {
    AttachType.TRACE_RAW_TP: ("btf_trace_", Typedef),
    AttachType.TRACE_ITER: ("bpf_iter_", Func),
    AttachType.LSM_MAC: ("bpf_lsm_", Func),
}
# The load of a function's BTF id, to test a weak kfunc against NULL, and this kfunc came with the
# same release, Linux 6.4; before it only variables could be loaded so.
_CAME_WITH_FUNCTION_IDS = "bpf_dynptr_slice"


def resolve(
    spec: ProgramSpec,
    host: Host,
    maps: Mapping[str, Map],
    *,
    attach_btf_id: int = 0,
    attach_module: str = "",
    attach_program: Program | None = None,
) -> LoadRequest:
    """What to load for `spec` on `host`. `maps` are the created maps by their names.

    The target is `attach_btf_id` in the BTF of vmlinux, `attach_module` or `attach_program`.
    Raises `NotFoundError` or `UnsupportedError` for what the kernel lacks, unless it is weak.
    """
    if spec.type is ProgType.UNSPEC:
        raise BadInputError(
            f"program '{spec.name}': no kind of program is in section '{spec.section}'"
        ).hint("a section is named after a kind, a slash and the target: fsession/icmp_rcv")
    if not attach_btf_id and spec.attach_type in _NAMED_TARGETS:
        attach_btf_id = _named_target(spec, host)
    linker = _Linker(spec, host, maps)
    for reloc in spec.relocs:
        linker.apply(reloc)
    return LoadRequest(
        name=spec.name,
        type=spec.type,
        insns=linker.program(),
        attach_type=spec.attach_type,
        attach_btf_id=attach_btf_id,
        attach_module=attach_module,
        attach_program=attach_program,
        license=spec.license,
        version=spec.version,
        sleepable=spec.sleepable,
        fd_array=linker.fd_array,
        types=spec.types,
        funcs=spec.funcs,
        lines=spec.lines,
        poison=tuple(linker.poison),
    )


def _named_target(spec: ProgramSpec, host: Host) -> TypeId:
    """The target of a program that is not attached to a function, by its name's prefix."""
    assert spec.attach_type is not None
    prefix, kind = _NAMED_TARGETS[spec.attach_type]
    if not spec.target:
        raise BadInputError(f"program '{spec.name}': section '{spec.section}' names no target")
    return host.types("").id_of(prefix + spec.target, kind)


def find_function(host: Host, name: str) -> tuple[str, TypeId] | None:
    """``(module, BTF id)`` of a kernel function: ``name``, or ``module:name`` for one module.

    A bare name is looked for in vmlinux, then in every loaded module.
    """
    module, _, function = name.rpartition(":")
    places = [module] if module else ["", *host.modules()]
    for place in places:
        found = host.types(place).find(function, Func)
        if found is not None and (not place or found >= host.types(place).first_id):
            return place, found
    return None


class _Linker:
    """The program's instructions while they are filled in."""

    def __init__(self, spec: ProgramSpec, host: Host, maps: Mapping[str, Map]) -> None:
        self._spec, self._host, self._maps = spec, host, maps
        self.insns = list(spec.insns)
        self._index = {at: index for index, at in enumerate(offsets(spec.insns)[:-1])}
        self._module_fds: dict[str, Fd] = {}
        self._longer: dict[int, tuple[Insn, ...]] = {}
        self.poison: list[tuple[InsnOff, str]] = []
        self._relocator: Relocator | None = None

    def program(self) -> tuple[Insn, ...]:
        """The instructions; where one was replaced by several, those."""
        if not self._longer:
            return tuple(self.insns)
        parts = (self._longer.get(index, (insn,)) for index, insn in enumerate(self.insns))
        return tuple(insn for part in parts for insn in part)

    @property
    def fd_array(self) -> tuple[Fd, ...]:
        """BTF objects of modules by the index that calls name; index 0 stands for vmlinux."""
        return (Fd(0), *self._module_fds.values()) if self._module_fds else ()

    def apply(self, reloc: Reloc) -> None:
        index = self._index.get(reloc.at)
        if index is None:
            raise InternalError(f"'{self._spec.name}': a relocation at slot {reloc.at}")
        insn = self.insns[index]
        match reloc:
            case MapRef():
                self.insns[index] = load_map_fd(insn.dst, self._map(reloc.map).fd)
            case MapValueRef():
                fd = self._map(reloc.map).fd
                self.insns[index] = load_map_value(insn.dst, fd, reloc.offset)
            case KfuncCall():
                self.insns[index] = self._kfunc(reloc)
            case KsymRef():
                self.insns[index] = self._ksym(reloc, insn)
            case CoreRelo():
                self._core(reloc, index)

    def _map(self, name: str) -> Map:
        if name not in self._maps:
            from difflib import get_close_matches  # here: only for an error's message

            raise NotFoundError("map", name, tuple(get_close_matches(name, self._maps, _NEAR)))
        return self._maps[name]

    def _kfunc(self, reloc: KfuncCall) -> Insn:
        module, btf_id, why_not = self._find_kfunc(reloc)
        if why_not:
            if reloc.weak:
                self.poison.append((reloc.at, why_not))
                return call_helper(POISON)
            raise UnsupportedError(
                f"the kernel function {reloc.name}", _SINCE.get(reloc.name, "")
            ).hint(
                f"'{self._spec.name}' calls it and {why_not}; declare it __weak to load without it"
            )
        call = Insn(self.insns[self._index[reloc.at]].opcode, src=CALL_KFUNC, imm=btf_id)
        return replace(call, off=self._fd_index(module)) if module else call

    def _find_kfunc(self, reloc: KfuncCall) -> tuple[str, TypeId, str]:
        """Module and BTF id, or why the kernel's function can't be called."""
        name = essential(reloc.name)
        found = find_function(self._host, name)
        if found is None:
            return "", TypeId(0), f"the kernel has no function {name}"
        types = self._host.types(found[0])
        if reloc.type and not _same_shape(self._own_types(), reloc.type, types, found[1]):
            return "", TypeId(0), f"the kernel's {name} takes or returns other things"
        return *found, ""

    def _own_types(self) -> Types:
        if self._spec.types is None:
            raise InternalError(f"'{self._spec.name}' refers to types and has no BTF")
        return self._spec.types

    def _fd_index(self, module: str) -> int:
        if module not in self._module_fds:
            self._module_fds[module] = self._host.btf_fd(module)
        return list(self._module_fds).index(module) + 1

    def _ksym(self, reloc: KsymRef, insn: Insn) -> Insn:
        found = self._typed_ksym(reloc, insn) if reloc.type else self._address(reloc.name, insn)
        if found is not None:
            return found
        if reloc.weak:
            return lddw(insn.dst, 0)
        way = f"'extern const void {reloc.name} __ksym' takes any symbol's address; "
        raise NotFoundError("kernel symbol", reloc.name).hint(
            (way if reloc.type else "")
            + f"'{self._spec.name}' needs it; declare it __weak to load without it"
        )

    def _address(self, name: str, insn: Insn) -> Insn | None:
        address = self._host.symbol(name)
        return None if address is None else lddw(insn.dst, address)

    def _typed_ksym(self, reloc: KsymRef, insn: Insn) -> Insn | None:
        """The load of a variable or function by BTF id; the upper half is a module's BTF fd."""
        name, own = essential(reloc.name), self._own_types()
        kind = Func if isinstance(own[reloc.type], Func) else Var
        for module in ("", *self._host.modules()):
            types = self._host.types(module)
            found = types.find(name, kind)
            if found is None or (module and found < types.first_id):
                continue
            if kind is Func and self._host.types("").find(_CAME_WITH_FUNCTION_IDS, Func) is None:
                return self._address(name, insn)
            self._check_variable(reloc, types, found)
            fd = int(self._host.btf_fd(module)) if module else 0
            return lddw(insn.dst, found | fd << 32, Pseudo.BTF_ID)
        return None

    def _check_variable(self, reloc: KsymRef, types: Types, id: TypeId) -> None:
        from fsession.btf.compat import Pair, types_compatible  # here: most programs need none

        variable, own = types[id], self._own_types()
        if isinstance(variable, Var) and not types_compatible(
            Pair(own, reloc.type, types, variable.type)
        ):
            raise BadInputError(
                f"'{self._spec.name}': extern '{reloc.name}' has another type in the kernel"
            )

    def _core(self, reloc: CoreRelo, index: int) -> None:
        from fsession.btf.core import Relocator, apply, is_poison

        if self._relocator is None:
            self._relocator = Relocator(self._own_types(), self._core_targets())
        result = self._relocator.relocate(reloc)
        fitted = self._longer[index] = apply(self.insns[index], result)
        if is_poison(fitted):
            self.poison.append((reloc.at, f"the kernel has no {result.question}"))

    def _core_targets(self) -> Iterator[Types]:
        """vmlinux, then modules, whose BTF is read only if vmlinux lacks a type."""
        yield self._host.types("")
        yield from map(self._host.types, self._host.modules())


def _same_shape(own: Types, own_func: TypeId, types: Types, func: TypeId) -> bool:
    """Whether a call made for the one declaration is right for the other.

    As many parameters, numbers where numbers are and pointers where pointers are: the session
    kfuncs of Linux 6.10 to 6.19 take no context, those since 7.0 do.
    """
    mine, theirs = own.prototype(own_func), types.prototype(func)
    return [_shape(own, id) for id in (mine.type, *(param.type for param in mine.params))] == [
        _shape(types, id) for id in (theirs.type, *(param.type for param in theirs.params))
    ]


def _shape(types: Types, id: TypeId) -> str:
    kind = types[types.strip(id)]
    if isinstance(kind, Int | Enum | Enum64 | Float):
        return "number"
    return "pointer" if isinstance(kind, Ptr) else type(kind).__name__
