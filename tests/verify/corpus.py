"""The corpus: small programs as text, what they are for, and what real verifiers said of them.

A file of ``corpus/`` is a row of programs::

    [stack: a spilled pointer comes back]
    @ fentry/bpf_fentry_test1
    *(u64 *)(r10 -8) = r1
    ...

``@`` names section and options: ``fentry.s/…`` is sleepable, ``license MIT``. ``map[fd:N]`` is a
map of `MAPS`, ``call @name`` a kernel function, ``ksym:name`` a variable of the kernel,
``type:name`` the number of a struct. ``confirmed.json`` has for each program and kernel
the telling words of its verifier, "" for accepted; scripts/verify_corpus.py asks the kernels anew.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.btf.types import Func, Struct, Typedef, Var
from fsession.host import LoadRequest
from fsession.isa.asm import assemble
from fsession.isa.opcode import Pseudo
from fsession.spec import MapSpec
from fsession.uapi import AttachType, MapType, ProgType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fsession.btf.catalog import Types

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

_SECTIONS = {
    "fentry": AttachType.TRACE_FENTRY,
    "fexit": AttachType.TRACE_FEXIT,
    "fsession": AttachType.TRACE_FSESSION,
    "tp_btf": AttachType.TRACE_RAW_TP,
}


@dataclass(frozen=True)
class Case:
    """One program. `section` is ``fentry/function`` or ``raw_tp``."""

    name: str
    text: str
    section: str = "fentry/bpf_fentry_test1"
    license: str = "GPL"

    def request(self, types: Types, fds: Mapping[int, int]) -> LoadRequest:
        """What to load; `fds` are the descriptors of `MAPS`."""
        kind, _, target = self.section.partition("/")
        kind, _, sleepable = kind.partition(".")
        insns = tuple(
            replace(insn, imm=insn.imm & ~0xFFFF_FFFF | fds[insn.imm & 0xFFFF_FFFF])
            if insn.is_lddw and insn.src in (Pseudo.MAP_FD, Pseudo.MAP_VALUE)
            else insn
            for insn in assemble(_with_ids(self.text, types))
        )
        request = LoadRequest(
            "case", ProgType.TRACING, insns, license=self.license, sleepable=sleepable == "s"
        )
        if kind == "raw_tp":
            return replace(request, type=ProgType.RAW_TRACEPOINT)
        name = f"btf_trace_{target}" if kind == "tp_btf" else target
        found = types.id_of(name, Typedef if kind == "tp_btf" else Func)
        return replace(request, attach_type=_SECTIONS[kind], attach_btf_id=found)


def _with_ids(text: str, types: Types) -> str:
    def numbered(match: re.Match[str]) -> str:
        return f"call kernel-function#{types.find(match[1], Func) or 0x7FFFFFF}"

    def variable(match: re.Match[str]) -> str:
        return f"btf[fd:0][id:{types.id_of(match[1], Var)}]"

    def struct(match: re.Match[str]) -> str:
        return str(types.id_of(match[1], Struct))

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
        elif line.startswith("@ "):
            case = replace(case, section=line.removeprefix("@ "))
        else:
            lines.append(line)
    return replace(case, text="\n".join(lines))


def confirmed() -> dict[str, dict[str, str]]:
    """Of each kernel series: the telling words for each program, "" where it was accepted."""
    return json.loads(CONFIRMED.read_text()) if CONFIRMED.exists() else {}
