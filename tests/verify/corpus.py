"""The corpus: small programs as text, what they are for, and what real verifiers said of them.

A file of ``corpus/`` is a row of programs::

    [stack: a spilled pointer comes back]
    @ fentry/bpf_fentry_test1
    *(u64 *)(r10 -8) = r1
    ...

``@`` names section and options: ``fentry.s/…`` is sleepable, ``license MIT``, ``functions``: the
program's own are known by BTF, so that they may be called back. ``map[fd:N]`` is a map of `MAPS`,
``call @name`` a kernel function (``name_impl``, with more arguments, where there is none),
``ksym:name`` a variable of the kernel, ``type:name`` the number of a struct, ``own:name`` that of
one of the program's own. ``confirmed.json`` has for each program and kernel the telling words of
its verifier, "" for accepted; scripts/verify_corpus.py asks the kernels anew.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.btf.encode import Builder
from fsession.btf.types import (
    DeclTag,
    Func,
    FuncProto,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    Typedef,
    TypeTag,
    Var,
)
from fsession.host import LoadRequest
from fsession.isa.asm import assemble
from fsession.isa.cfg import subprograms
from fsession.isa.opcode import Pseudo
from fsession.spec import FuncInfo, MapSpec
from fsession.uapi import AttachType, MapType, ProgType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.isa.insn import Insn

HERE = Path(__file__).parent
CONFIRMED = HERE / "confirmed.json"
NO_PREALLOC = 1

MAPS = {
    1: MapSpec("hash", MapType.HASH, 8, 48, 16),
    2: MapSpec("array", MapType.ARRAY, 4, 64, 4),
    3: MapSpec("ring", MapType.RINGBUF, 0, 0, 4096),
    4: MapSpec("percpu", MapType.PERCPU_ARRAY, 4, 16, 2),
    5: MapSpec("programs", MapType.PROG_ARRAY, 4, 4, 2),
    6: MapSpec("stacks", MapType.STACK_TRACE, 4, 80, 16),
    7: MapSpec("queue", MapType.QUEUE, 0, 16, 4),
    8: MapSpec("events", MapType.PERF_EVENT_ARRAY, 4, 4, 2),
    9: MapSpec("lru", MapType.LRU_HASH, 4, 8, 16),
}


def _value_types() -> tuple[Types, dict[str, TypeId]]:
    """Types of values with fields that have rules of their own, by the names of their maps."""
    build = Builder()
    word = build.add(Int("long", 8, 64, 1))
    half = build.add(Int("int", 4, 32, 1))
    lock = build.add(Struct("bpf_spin_lock", 4, (Member("val", half, 0),)))
    parts = (Member("a", word, 0), Member("b", word, 64))
    timer = build.add(Struct("bpf_timer", 16, parts))
    queue = build.add(Struct("bpf_wq", 16, parts))
    task, cgroup = (build.add(Struct(name, 0, ())) for name in ("task_struct", "cgroup"))
    kept, loose, group = (
        build.add(Ptr(build.add(TypeTag(tag, of))))
        for tag, of in (("kptr", task), ("kptr_untrusted", task), ("kptr", cgroup))
    )
    number = Member("number", word, 0)
    values = {
        "locked": (16, (number, Member("lock", lock, 64))),
        "locks": (16, (Member("lock", lock, 0), Member("number", word, 64))),
        "kept": (
            32,
            (number, Member("t", kept, 64), Member("u", loose, 128), Member("c", group, 192)),
        ),
        "timers": (24, (number, Member("timer", timer, 64))),
        "queued": (24, (number, Member("work", queue, 64))),
    }
    proto = build.add(FuncProto(half, (Param("word", word),)))
    functions = {name: build.add(Func(name, proto)) for name in ("program", "function")}
    ids = {name: build.add(Struct(name, size, parts)) for name, (size, parts) in values.items()}
    ids |= _graph_types(build, word, half, lock)
    return build.types("values"), {"int": half, **functions, **ids}


def _graph_types(build: Builder, word: TypeId, half: TypeId, lock: TypeId) -> dict[str, TypeId]:
    """Objects of the program's own that are in lists and trees, and values that hold those."""

    def opaque(name: str, count: int) -> TypeId:
        parts = tuple(Member(f"part{at}", word, 64 * at) for at in range(count))
        return build.add(Struct(name, 8 * count, parts))

    head, node = opaque("bpf_list_head", 2), opaque("bpf_list_node", 3)
    root, rb_node = opaque("bpf_rb_root", 2), opaque("bpf_rb_node", 4)
    count = build.add(Struct("bpf_refcount", 4, (Member("count", half, 0),)))

    def holding(name: str, part: TypeId, size: int, last: TypeId) -> TypeId:
        """A number, a node and another number or a count."""
        parts = Member("number", word, 0), Member("node", part, 64), Member("more", last, 8 * size)
        return build.add(Struct(name, size + 8, parts))

    plain = Member("number", word, 0), Member("more", word, 64)
    ids = {
        "plain": build.add(Struct("plain", 16, plain)),
        "item": holding("item", node, 32, word),
        "leaf": holding("leaf", rb_node, 40, word),
        "shared": holding("shared", rb_node, 40, count),
    }
    for value, part, of in (
        ("listed", head, "item"),
        ("tree", root, "leaf"),
        ("bush", root, "shared"),
    ):
        parts = (Member("lock", lock, 0), Member("root", part, 64), Member("number", word, 192))
        ids[value] = build.add(Struct(value, 32, parts))
        build.add(DeclTag(f"contains:{of}:node", ids[value], 1))
    return ids


VALUE_TYPES, _ID_OF = _value_types()


def _typed(type: MapType, of: str, entries: int) -> MapSpec:
    size = VALUE_TYPES.size_of(_ID_OF[of])
    return MapSpec(of, type, 4, size, entries, 0, _ID_OF["int"], _ID_OF[of])


MAPS |= {
    10: _typed(MapType.HASH, "locked", 16),
    11: _typed(MapType.ARRAY, "locks", 4),
    12: _typed(MapType.ARRAY, "locks", 1),
    13: _typed(MapType.HASH, "kept", 16),
    14: _typed(MapType.ARRAY, "locks", 1),
    15: _typed(MapType.HASH, "timers", 16),
    16: _typed(MapType.HASH, "queued", 16),
    17: _typed(MapType.ARRAY, "listed", 1),
    18: _typed(MapType.ARRAY, "tree", 1),
    19: _typed(MapType.ARRAY, "bush", 1),
    20: _typed(MapType.HASH, "listed", 4),
}

_SECTIONS = {
    "fentry": AttachType.TRACE_FENTRY,
    "fexit": AttachType.TRACE_FEXIT,
    "fsession": AttachType.TRACE_FSESSION,
    "fmod_ret": AttachType.MODIFY_RETURN,
    "tp_btf": AttachType.TRACE_RAW_TP,
}


@dataclass(frozen=True)
class Case:
    """One program. `section` is ``fentry/function`` or ``raw_tp``."""

    name: str
    text: str
    section: str = "fentry/bpf_fentry_test1"
    license: str = "GPL"
    functions: bool = False

    def request(self, types: Types, fds: Mapping[int, int], *, old: bool = False) -> LoadRequest:
        """What to load; `fds` are the descriptors of `MAPS`. `old`: as before Linux 7.0."""
        kind, _, target = self.section.partition("/")
        kind, _, sleepable = kind.partition(".")
        insns = tuple(
            replace(insn, imm=insn.imm & ~0xFFFF_FFFF | fds[insn.imm & 0xFFFF_FFFF])
            if insn.is_lddw and insn.src in (Pseudo.MAP_FD, Pseudo.MAP_VALUE)
            else insn
            for insn in assemble(_with_ids(self.text, types, old=old))
        )
        request = LoadRequest(
            "case",
            ProgType.TRACING,
            insns,
            license=self.license,
            sleepable=sleepable == "s",
            types=VALUE_TYPES,
            funcs=_functions(insns) if self.functions else (),
        )
        if kind == "raw_tp":
            return replace(request, type=ProgType.RAW_TRACEPOINT)
        name = f"btf_trace_{target}" if kind == "tp_btf" else target
        found = types.id_of(name, Typedef if kind == "tp_btf" else Func)
        return replace(request, attach_type=_SECTIONS[kind], attach_btf_id=found)


def _functions(insns: Sequence[Insn]) -> tuple[FuncInfo, ...]:
    starts = [start for start, _ in subprograms(insns)]
    return tuple(FuncInfo(at, _ID_OF["function" if at else "program"]) for at in starts)


def _with_ids(text: str, types: Types, *, old: bool) -> str:
    def numbered(match: re.Match[str]) -> str:
        plain, longer = (types.find(name, Func) for name in (match[1], f"{match[1]}_impl"))
        found = longer or plain if old else plain or longer
        return f"call kernel-function#{found or 0x7FFFFFF}"

    def variable(match: re.Match[str]) -> str:
        return f"btf[fd:0][id:{types.id_of(match[1], Var)}]"

    def struct(match: re.Match[str]) -> str:
        return str(types.id_of(match[1], Struct))

    text = re.sub(r"own:(\w+)", lambda match: str(_ID_OF[match[1]]), text)
    text = re.sub(r"call @(\w+)", numbered, text)
    text = re.sub(r"ksym:(\w+)", variable, text)
    return re.sub(r"type:(\w+)", struct, text)


def cases() -> list[Case]:
    """All of them, in the order of the files."""
    found: list[Case] = []
    for path in sorted((HERE / "corpus").glob("*.test")):
        for name, body in re.findall(r"^\[(.+)\]\n((?:(?!\[).*\n?)*)", path.read_text(), re.M):
            found.append(_case(f"{path.stem}: {name}", body))
    return found


def _case(name: str, body: str) -> Case:
    case = Case(name, "")
    lines = []
    for line in body.splitlines():
        if line.startswith("@ license "):
            case = replace(case, license=line.removeprefix("@ license "))
        elif line == "@ functions":
            case = replace(case, functions=True)
        elif line.startswith("@ "):
            case = replace(case, section=line.removeprefix("@ "))
        else:
            lines.append(line)
    return replace(case, text="\n".join(lines))


def confirmed() -> dict[str, dict[str, str]]:
    """Of each kernel series: the telling words for each program, "" where it was accepted."""
    return json.loads(CONFIRMED.read_text()) if CONFIRMED.exists() else {}
