"""Names of program sections: ``SEC("fsession.s/icmp_rcv")`` to a type, an attach type, a target.

A name is a row's `name`, followed by ``/target`` where the row takes one; a question mark before
it means that the program is not loaded unless asked for. The names are those of libbpf's
documentation (docs.kernel.org/bpf/libbpf/program_types.html) and the session forms of Linux 7.x.
What a row's `attach` says is what this package does with such a program; `Attach.NONE` programs
can be read, loaded and run by ``test_run``, and say their name when someone attaches them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fsession.uapi import AttachType, ProgType

__all__ = ["Attach", "SectionKind", "SectionName", "kinds", "parse"]


class Attach(Enum):
    """How programs of a section are attached by this package."""

    FUNCTION = "to one function: a trampoline link"
    MULTI = "to many functions by one link"
    NONE = "not by this package"


class Target(Enum):
    """What may follow the name."""

    NO = "nothing"
    MAY = "an optional target"
    MUST = "a target"


@dataclass(frozen=True, slots=True)
class SectionKind:
    """A row of the table. `sleepable`: programs of it are loaded with ``BPF_F_SLEEPABLE``."""

    name: str
    type: ProgType
    attach_type: AttachType | None = None
    sleepable: bool = False
    target: Target = Target.MAY
    attach: Attach = Attach.NONE


@dataclass(frozen=True, slots=True)
class SectionName:
    """A section name taken apart."""

    kind: SectionKind
    target: str
    autoload: bool


# name, program type, attach type, target. A trailing "+" adds the form with ".s", sleepable.
_Row = tuple[str, ProgType, AttachType | None, Target]
_P, _A, _T = ProgType, AttachType, Target

_FUNCTION: tuple[_Row, ...] = (
    ("fsession+", _P.TRACING, _A.TRACE_FSESSION, _T.MAY),
    ("fentry+", _P.TRACING, _A.TRACE_FENTRY, _T.MAY),
    ("fexit+", _P.TRACING, _A.TRACE_FEXIT, _T.MAY),
    ("fmod_ret+", _P.TRACING, _A.MODIFY_RETURN, _T.MAY),
)
_MULTI: tuple[_Row, ...] = (
    ("fsession.multi+", _P.TRACING, _A.TRACE_FSESSION_MULTI, _T.MAY),
    ("fentry.multi+", _P.TRACING, _A.TRACE_FENTRY_MULTI, _T.MAY),
    ("fexit.multi+", _P.TRACING, _A.TRACE_FEXIT_MULTI, _T.MAY),
)
_OTHER: tuple[_Row, ...] = (
    ("kprobe", _P.KPROBE, None, _T.MAY),
    ("kretprobe", _P.KPROBE, None, _T.MAY),
    ("kprobe.multi", _P.KPROBE, _A.TRACE_KPROBE_MULTI, _T.MAY),
    ("kretprobe.multi", _P.KPROBE, _A.TRACE_KPROBE_MULTI, _T.MAY),
    ("kprobe.session", _P.KPROBE, _A.TRACE_KPROBE_SESSION, _T.MAY),
    ("ksyscall", _P.KPROBE, None, _T.MAY),
    ("kretsyscall", _P.KPROBE, None, _T.MAY),
    ("uprobe+", _P.KPROBE, None, _T.MAY),
    ("uretprobe+", _P.KPROBE, None, _T.MAY),
    ("uprobe.multi+", _P.KPROBE, _A.TRACE_UPROBE_MULTI, _T.MAY),
    ("uretprobe.multi+", _P.KPROBE, _A.TRACE_UPROBE_MULTI, _T.MAY),
    ("uprobe.session+", _P.KPROBE, _A.TRACE_UPROBE_SESSION, _T.MAY),
    ("usdt+", _P.KPROBE, None, _T.MAY),
    ("tp", _P.TRACEPOINT, None, _T.MAY),
    ("tracepoint", _P.TRACEPOINT, None, _T.MAY),
    ("raw_tp", _P.RAW_TRACEPOINT, None, _T.MAY),
    ("raw_tracepoint", _P.RAW_TRACEPOINT, None, _T.MAY),
    ("raw_tp.w", _P.RAW_TRACEPOINT_WRITABLE, None, _T.MAY),
    ("raw_tracepoint.w", _P.RAW_TRACEPOINT_WRITABLE, None, _T.MAY),
    ("tp_btf", _P.TRACING, _A.TRACE_RAW_TP, _T.MAY),
    ("iter+", _P.TRACING, _A.TRACE_ITER, _T.MAY),
    ("lsm+", _P.LSM, _A.LSM_MAC, _T.MAY),
    ("lsm_cgroup", _P.LSM, _A.LSM_CGROUP, _T.MAY),
    ("freplace", _P.EXT, None, _T.MAY),
    ("perf_event", _P.PERF_EVENT, None, _T.NO),
    ("struct_ops+", _P.STRUCT_OPS, None, _T.MAY),
    ("xdp", _P.XDP, _A.XDP, _T.NO),
    ("tc", _P.SCHED_CLS, None, _T.MAY),
    ("tcx/ingress", _P.SCHED_CLS, _A.TCX_INGRESS, _T.NO),
    ("tcx/egress", _P.SCHED_CLS, _A.TCX_EGRESS, _T.NO),
    ("classifier", _P.SCHED_CLS, None, _T.NO),
    ("action", _P.SCHED_ACT, None, _T.NO),
    ("socket", _P.SOCKET_FILTER, None, _T.MAY),
    ("cgroup_skb/ingress", _P.CGROUP_SKB, _A.CGROUP_INET_INGRESS, _T.NO),
    ("cgroup_skb/egress", _P.CGROUP_SKB, _A.CGROUP_INET_EGRESS, _T.NO),
    ("cgroup/skb", _P.CGROUP_SKB, None, _T.NO),
)


def parse(section: str) -> SectionName | None:
    """Take a section name apart; None if no row of the table has it."""
    name = section.removeprefix("?")
    autoload = name == section
    if name == "syscall":
        return SectionName(_SYSCALL, "", autoload)
    for kind in kinds():
        target = _target(kind, name)
        if target is not None:
            return SectionName(kind, target, autoload)
    return None


def _target(kind: SectionKind, name: str) -> str | None:
    """What follows the slash; None if the name is not of this kind."""
    if name == kind.name:
        return "" if kind.target is not Target.MUST else None
    rest = name.removeprefix(kind.name + "/")
    return rest if rest != name and kind.target is not Target.NO else None


_SYSCALL = SectionKind("syscall", ProgType.SYSCALL, None, True, Target.NO)
_kinds: list[SectionKind] = []


def kinds() -> tuple[SectionKind, ...]:
    """All rows, those that end in ``.s`` included."""
    if not _kinds:
        tables = ((_FUNCTION, Attach.FUNCTION), (_MULTI, Attach.MULTI), (_OTHER, Attach.NONE))
        for rows, attach in tables:
            for row in rows:
                _kinds.extend(_forms(row, attach))
        _kinds.append(_SYSCALL)
    return tuple(_kinds)


def _forms(row: _Row, attach: Attach) -> list[SectionKind]:
    name, kind, attach_type, target = row
    plain = name.removesuffix("+")
    forms = [SectionKind(plain, kind, attach_type, False, target, attach)]
    if plain != name:
        forms.append(SectionKind(plain + ".s", kind, attach_type, True, target, attach))
    return forms
