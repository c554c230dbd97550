"""Relocations resolved against a host of the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from fsession.btf.encode import Builder
from fsession.btf.types import VOID, Const, Func, FuncProto, Int, Param, Ptr, Struct, Typedef, Var
from fsession.errors import BadInputError, NotFoundError, UnsupportedError
from fsession.isa.insn import call_kfunc, call_local, exit_, lddw, load_map_fd, load_map_value, mov
from fsession.isa.opcode import Pseudo
from fsession.obj import compile_c, read_object
from fsession.resolve import find_function, resolve
from fsession.spec import KfuncCall, KsymRef, MapRef, MapValueRef, ProgramSpec
from fsession.uapi import AttachType, ProgType

if TYPE_CHECKING:
    from fsession.btf.catalog import Types

HERE = Path(__file__).parent


@dataclass
class FakeHost:
    """Types of vmlinux and modules, and symbols, as the test says."""

    vmlinux: Types
    loaded: dict[str, Types] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    def types(self, module: str = "") -> Types:
        if module and module not in self.loaded:
            raise NotFoundError("module with BTF", module)
        return self.loaded[module] if module else self.vmlinux

    def modules(self) -> list[str]:
        return sorted(self.loaded)

    def btf_fd(self, module: str) -> int:
        self.opened.append(module)
        return 40 + len(self.opened)

    def symbol(self, name: str, module: str = "") -> int | None:
        return self.symbols.get(name)


@dataclass(frozen=True)
class Made:
    types: Types
    ids: dict[str, int]


def make(base: Types | None = None, *, context: bool = True, newer: bool = True) -> Made:
    """A small kernel; `context`: the session kfuncs take one; `newer`: Linux 6.4 or later."""
    build, ids = Builder(base), {}
    ids["int"] = build.add(Int("int", 4, 32, 1))
    ids["bool"] = build.add(Int("_Bool", 1, 8, 4))
    ids["void *"] = build.add(Ptr(VOID))
    ids["task"] = build.add(Struct("task_struct", 8, ()))
    ids["task *"] = build.add(Ptr(ids["task"]))
    ctx = (Param("ctx", ids["void *"]),) if context else ()
    protos = {
        "bpf_session_is_return": FuncProto(ids["bool"], ctx),
        "bpf_task_acquire": FuncProto(ids["task *"], (Param("p", ids["task *"]),)),
        "icmp_rcv": FuncProto(ids["int"], (Param("skb", ids["void *"]),)),
        "bpf_iter_task": FuncProto(ids["int"], ()),
        **({"bpf_dynptr_slice": FuncProto(ids["void *"], ())} if newer else {}),
    }
    for name, proto in protos.items() if base is None else ():
        ids[name] = build.add(Func(name, build.add(proto), 1))
    ids["btf_trace_sched"] = build.add(Typedef("btf_trace_sched", ids["void *"]))
    ids["runqueues"] = build.add(Var("runqueues", build.add(Const(ids["task"])), 1))
    if base is not None:
        proto = build.add(FuncProto(ids["int"], ()))
        ids["mod_kfunc"] = build.add(Func("mod_kfunc", proto, 1))
        ids["mod_var"] = build.add(Var("mod_var", ids["int"], 1))
    return Made(build.types(), ids)


@pytest.fixture
def kernel() -> Made:
    return make()


@pytest.fixture
def module(kernel) -> Made:
    return make(kernel.types)


@pytest.fixture
def host(kernel, module) -> Any:
    return FakeHost(kernel.types, {"mod": module.types}, {"jiffies": 0xFFFF_8000_0000_1000})


def program(*insns: Any, relocs: tuple[Any, ...] = (), **fields: Any) -> ProgramSpec:
    return ProgramSpec(
        "p", ProgType.TRACING, (*insns, exit_()), relocs=relocs, section="fentry/f", **fields
    )


def fake_map(fd: int) -> Any:
    return SimpleNamespace(fd=fd)


def test_maps(host):
    spec = program(lddw(1, 0), lddw(2, 0), relocs=(MapRef(0, "hash"), MapValueRef(2, ".data", 24)))
    request = resolve(spec, host, {"hash": fake_map(7), ".data": fake_map(9)})
    assert request.insns[:2] == (load_map_fd(1, 7), load_map_value(2, 9, 24))


def test_a_map_that_is_not_there(host):
    spec = program(lddw(1, 0), relocs=(MapRef(0, "hush"),))
    with pytest.raises(NotFoundError, match="no map named 'hush'; did you mean hash"):
        resolve(spec, host, {"hash": fake_map(7)})


def test_kfuncs_of_vmlinux_and_modules(host, kernel, module):
    names = ("bpf_task_acquire", "mod_kfunc", "mod_kfunc")
    relocs = tuple(KfuncCall(at, name) for at, name in enumerate(names))
    request = resolve(program(*[call_local(-1)] * 3, relocs=relocs), host, {})
    ids = kernel.ids["bpf_task_acquire"], module.ids["mod_kfunc"]
    assert request.insns[:3] == (call_kfunc(ids[0]), *[call_kfunc(ids[1], fd_index=1)] * 2)
    assert request.fd_array == (0, 41)
    assert host.opened == ["mod"]


def test_the_flavor_of_a_kfunc_is_not_part_of_its_name(host, kernel):
    spec = program(call_local(-1), relocs=(KfuncCall(0, "bpf_task_acquire___mine"),))
    assert resolve(spec, host, {}).insns[0] == call_kfunc(kernel.ids["bpf_task_acquire"])


MISSING = [
    # name, since when the kernel has it
    ("bpf_iter_num_new", "Linux 6.4"),
    ("bpf_session_cookie", "Linux 7.0"),
    ("no_such_kfunc", ""),
]


@pytest.mark.parametrize(("name", "since"), MISSING, ids=[row[0] for row in MISSING])
def test_a_strong_kfunc_that_is_missing(host, name, since):
    with pytest.raises(UnsupportedError, match=name) as caught:
        resolve(program(call_local(-1), relocs=(KfuncCall(0, name),)), host, {})
    assert caught.value.since == since
    assert "__weak" in caught.value.__notes__[0]


def test_a_weak_kfunc_that_is_missing_is_never_to_be_reached(host):
    spec = program(mov(1, 2), call_local(-1), relocs=(KfuncCall(1, "no_such", weak=True),))
    request = resolve(spec, host, {})
    assert not request.insns[1].is_kfunc_call
    assert request.insns[1].is_call
    assert request.poison == ((1, "the kernel has no function no_such"),)


def test_kfuncs_that_take_other_things(kernel):
    """Linux 6.10 to 6.19 have session kfuncs without a parameter."""
    old: Any = FakeHost(make(context=False).types)
    call = KfuncCall(0, "bpf_session_is_return", type=kernel.ids["bpf_session_is_return"])
    with pytest.raises(UnsupportedError, match="bpf_session_is_return") as caught:
        resolve(program(call_local(-1), relocs=(call,), types=kernel.types), old, {})
    assert "takes or returns other things" in caught.value.__notes__[0]
    new: Any = FakeHost(make().types)
    assert resolve(program(call_local(-1), relocs=(call,), types=kernel.types), new, {}).insns


def test_addresses(host):
    spec = program(
        lddw(1, 0),
        lddw(2, 5),
        relocs=(KsymRef(0, "jiffies"), KsymRef(2, "no_such_symbol", weak=True)),
    )
    assert resolve(spec, host, {}).insns[:2] == (lddw(1, 0xFFFF_8000_0000_1000), lddw(2, 0))
    with pytest.raises(NotFoundError, match="no_such_symbol"):
        resolve(program(lddw(1, 0), relocs=(KsymRef(0, "no_such_symbol"),)), host, {})


def test_typed_variables(host, kernel, module):
    own = make()
    spec = program(
        lddw(1, 0),
        lddw(2, 0),
        lddw(3, 0),
        relocs=(
            KsymRef(0, "runqueues", type=own.ids["task"]),
            KsymRef(2, "mod_var", type=own.ids["int"]),
            KsymRef(4, "nothing", weak=True, type=own.ids["int"]),
        ),
        types=own.types,
    )
    assert resolve(spec, host, {}).insns[:3] == (
        lddw(1, kernel.ids["runqueues"], Pseudo.BTF_ID),
        lddw(2, module.ids["mod_var"] | 41 << 32, Pseudo.BTF_ID),
        lddw(3, 0),
    )


def test_a_typed_variable_of_another_type(host):
    own = make()
    reloc = KsymRef(0, "runqueues", type=own.ids["int"])
    with pytest.raises(BadInputError, match="'runqueues' has another type"):
        resolve(program(lddw(1, 0), relocs=(reloc,), types=own.types), host, {})


@pytest.mark.parametrize("newer", [True, False], ids=["6.4 and later", "before"])
def test_whether_a_kfunc_is_there(newer):
    own, kernel = make(), make(newer=newer)
    host: Any = FakeHost(kernel.types, symbols={"bpf_task_acquire": 0x1234})
    reloc = KsymRef(0, "bpf_task_acquire", weak=True, type=own.ids["bpf_task_acquire"])
    (load, _) = resolve(program(lddw(1, 0), relocs=(reloc,), types=own.types), host, {}).insns
    by_id = lddw(1, kernel.ids["bpf_task_acquire"], Pseudo.BTF_ID)
    assert load == (by_id if newer else lddw(1, 0x1234))


TARGETS = [
    # attach type, the section's target, the type it stands for
    (AttachType.TRACE_RAW_TP, "sched", "btf_trace_sched"),
    (AttachType.TRACE_ITER, "task", "bpf_iter_task"),
]


@pytest.mark.parametrize(("kind", "target", "name"), TARGETS, ids=[row[2] for row in TARGETS])
def test_targets_that_are_no_functions(host, kernel, kind, target, name):
    request = resolve(program(attach_type=kind, target=target), host, {})
    assert request.attach_btf_id == kernel.ids[name]


def test_a_tracepoint_that_is_not_there(host):
    with pytest.raises(NotFoundError, match="btf_trace_nothing"):
        resolve(program(attach_type=AttachType.TRACE_RAW_TP, target="nothing"), host, {})


def test_a_section_of_no_kind_is_refused_by_name(host):
    spec = ProgramSpec("p", ProgType.UNSPEC, (exit_(),), section="my_own")
    with pytest.raises(BadInputError, match="no kind of program is in section 'my_own'"):
        resolve(spec, host, {})


FIND = [
    ("icmp_rcv", ("", "icmp_rcv")),
    ("mod_kfunc", ("mod", "mod_kfunc")),
    ("mod:mod_kfunc", ("mod", "mod_kfunc")),
    ("mod:icmp_rcv", None),
    ("nothing", None),
]


@pytest.mark.parametrize(("name", "expected"), FIND, ids=[row[0] for row in FIND])
def test_find_function(host, kernel, module, name, expected):
    ids = {"": kernel.ids, "mod": module.ids}
    found = find_function(host, name)
    assert found == (expected and (expected[0], ids[expected[0]][expected[1]]))


def test_an_object_resolves_the_same_twice(host):
    """What an object says of layouts is asked of the host's types: this one lacks them all."""
    source = HERE / "obj" / "core.bpf.c"
    include = [HERE / "kernel" / "include"]
    spec = read_object(compile_c(source, include_dirs=include), "core")
    maps = {item.name: fake_map(3) for item in spec.maps}
    types = next(item for item in spec.programs if item.name == "types")
    first, second = resolve(types, host, maps), resolve(types, host, maps)
    assert first == second
    assert first.insns != types.insns
