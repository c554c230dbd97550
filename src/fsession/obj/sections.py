"""Names of program sections: ``SEC("fsession.s/icmp_rcv")`` to a type, an attach type, a target.

A name is a row's `name`, followed by ``/target`` where the row takes one; a question mark before
it means that the program is not loaded unless asked for. The names are those of libbpf's
documentation (docs.kernel.org/bpf/libbpf/program_types.html) and the session forms of Linux 7.x.
Those of the first table are attached by this package; programs of the others can be read, loaded
and run by ``test_run``, and say their section's name when someone attaches them.
"""

from __future__ import annotations

from fsession.frozen import frozen
from fsession.uapi import AttachType, ProgType

__all__ = ["SectionKind", "SectionName", "kinds", "parse"]


@frozen
class SectionKind:
    """A row of a table. `sleepable`: programs of it are loaded with ``BPF_F_SLEEPABLE``."""

    name: str
    type: ProgType
    attach_type: AttachType | None = None
    sleepable: bool = False
    takes_target: bool = True


@frozen
class SectionName:
    """A section name taken apart."""

    kind: SectionKind
    target: str
    autoload: bool


# Name, program type, attach type, whether a target may follow. A trailing "+" adds the sleepable
# form, with ".s".
_Row = tuple[str, ProgType, AttachType | None, bool]
_P, _A = ProgType, AttachType

_ATTACHED: tuple[_Row, ...] = (
    ("fsession+", _P.TRACING, _A.TRACE_FSESSION, True),
    ("fentry+", _P.TRACING, _A.TRACE_FENTRY, True),
    ("fexit+", _P.TRACING, _A.TRACE_FEXIT, True),
    ("fmod_ret+", _P.TRACING, _A.MODIFY_RETURN, True),
    ("fsession.multi+", _P.TRACING, _A.TRACE_FSESSION_MULTI, True),
    ("fentry.multi+", _P.TRACING, _A.TRACE_FENTRY_MULTI, True),
    ("fexit.multi+", _P.TRACING, _A.TRACE_FEXIT_MULTI, True),
)
_OTHER: tuple[_Row, ...] = (
    ("kprobe", _P.KPROBE, None, True),
    ("kretprobe", _P.KPROBE, None, True),
    ("kprobe.multi", _P.KPROBE, _A.TRACE_KPROBE_MULTI, True),
    ("kretprobe.multi", _P.KPROBE, _A.TRACE_KPROBE_MULTI, True),
    ("kprobe.session", _P.KPROBE, _A.TRACE_KPROBE_SESSION, True),
    ("ksyscall", _P.KPROBE, None, True),
    ("kretsyscall", _P.KPROBE, None, True),
    ("uprobe+", _P.KPROBE, None, True),
    ("uretprobe+", _P.KPROBE, None, True),
    ("uprobe.multi+", _P.KPROBE, _A.TRACE_UPROBE_MULTI, True),
    ("uretprobe.multi+", _P.KPROBE, _A.TRACE_UPROBE_MULTI, True),
    ("uprobe.session+", _P.KPROBE, _A.TRACE_UPROBE_SESSION, True),
    ("usdt+", _P.KPROBE, None, True),
    ("tp", _P.TRACEPOINT, None, True),
    ("tracepoint", _P.TRACEPOINT, None, True),
    ("raw_tp", _P.RAW_TRACEPOINT, None, True),
    ("raw_tracepoint", _P.RAW_TRACEPOINT, None, True),
    ("raw_tp.w", _P.RAW_TRACEPOINT_WRITABLE, None, True),
    ("raw_tracepoint.w", _P.RAW_TRACEPOINT_WRITABLE, None, True),
    ("tp_btf", _P.TRACING, _A.TRACE_RAW_TP, True),
    ("iter+", _P.TRACING, _A.TRACE_ITER, True),
    ("lsm+", _P.LSM, _A.LSM_MAC, True),
    ("lsm_cgroup", _P.LSM, _A.LSM_CGROUP, True),
    ("freplace", _P.EXT, None, True),
    ("perf_event", _P.PERF_EVENT, None, False),
    ("struct_ops+", _P.STRUCT_OPS, None, True),
    ("xdp", _P.XDP, _A.XDP, False),
    ("tc", _P.SCHED_CLS, None, True),
    ("tcx/ingress", _P.SCHED_CLS, _A.TCX_INGRESS, False),
    ("tcx/egress", _P.SCHED_CLS, _A.TCX_EGRESS, False),
    ("classifier", _P.SCHED_CLS, None, False),
    ("action", _P.SCHED_ACT, None, False),
    ("socket", _P.SOCKET_FILTER, None, True),
    ("cgroup_skb/ingress", _P.CGROUP_SKB, _A.CGROUP_INET_INGRESS, False),
    ("cgroup_skb/egress", _P.CGROUP_SKB, _A.CGROUP_INET_EGRESS, False),
    ("cgroup/skb", _P.CGROUP_SKB, None, False),
)


def parse(section: str) -> SectionName | None:
    """Take a section name apart; None if no row of the table has it."""
    name = section.removeprefix("?")
    autoload = name == section
    for kind in kinds():
        target = _target(kind, name)
        if target is not None:
            return SectionName(kind, target, autoload)
    return None


def _target(kind: SectionKind, name: str) -> str | None:
    """What follows the slash; None if the name is not of this kind."""
    if name == kind.name:
        return ""
    rest = name.removeprefix(kind.name + "/")
    return rest if rest != name and kind.takes_target else None


_SYSCALL = SectionKind("syscall", ProgType.SYSCALL, None, sleepable=True, takes_target=False)
_kinds: list[SectionKind] = []


def kinds() -> tuple[SectionKind, ...]:
    """All rows, those that end in ``.s`` included."""
    if not _kinds:
        for row in (*_ATTACHED, *_OTHER):
            _kinds.extend(_forms(row))
        _kinds.append(_SYSCALL)
    return tuple(_kinds)


def _forms(row: _Row) -> list[SectionKind]:
    name, kind, attach_type, takes_target = row
    plain = name.removesuffix("+")
    forms = [SectionKind(plain, kind, attach_type, False, takes_target)]
    if plain != name:
        forms.append(SectionKind(plain + ".s", kind, attach_type, True, takes_target))
    return forms
