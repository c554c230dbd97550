"""What `survey` calls traceable attaches, and what it refuses the kernel refuses: samples."""

from __future__ import annotations

import pytest

from fsession.attach import Reason, Target, find_targets, prepare, prepare_many, survey
from fsession.btf.types import Func
from fsession.errors import AttachError, FsessionError
from fsession.host import Feature
from fsession.isa.insn import alu, exit_
from fsession.isa.opcode import R0, Alu
from fsession.spec import ProgramSpec
from fsession.uapi import AttachType, ProgType

PATTERN = "d[eo]*"  # a few hundred functions, with some of each reason
ATTACHED, ATTACHED_MULTI, REFUSED = 12, 300, 3
KERNELS_OWN = [
    Reason.NOT_TRACEABLE,
    Reason.INLINED,
    Reason.DENIED,
    Reason.WORDS,
    Reason.VARIADIC,
    Reason.PROTOTYPE,
]


@pytest.fixture(scope="module")
def found(host):
    return survey(host, PATTERN)


def spec(attach_type: AttachType) -> ProgramSpec:
    return ProgramSpec("listed", ProgType.TRACING, (alu(Alu.MOV, R0, imm=0), exit_()), attach_type)


def sample(items, count):
    """Evenly spread, the same in every run."""
    ordered = sorted(items, key=lambda item: item.name)
    return ordered[:: max(1, len(ordered) // count)][:count]


def test_traceable_attaches(host, found, require):
    require(Feature.FENTRY)
    multi = host.supports(Feature.FSESSION_MULTI)
    kind = AttachType.TRACE_FSESSION if multi else AttachType.TRACE_FEXIT
    targets = sample(found.targets, ATTACHED_MULTI if multi else ATTACHED)
    with prepare_many(spec(kind), host, {}, targets) as prepared, prepared.attach() as attachment:
        assert attachment.refused == ()
        assert set(attachment.targets) == {target.name for target in targets}


def test_refused_is_refused(host, found, require):
    """Attached by force: no reason of the kernel's is given for what it would take.

    Not so what never returns, which kernels refuse only lately (6.12 does not).
    """
    require(Feature.FENTRY)
    types = host.types()
    tried = set()
    for reason in KERNELS_OWN:
        for item in sample((item for item in found.refused if item.reason is reason), REFUSED):
            type_id = types.find(item.name, Func)
            if type_id is None:  # a part of a function
                continue
            tried.add(reason)
            target = Target(item.name, type_id, 0, types)
            with pytest.raises(FsessionError):  # noqa: PT012 -- whichever of the two refuses
                with prepare(spec(AttachType.TRACE_FEXIT), host, {}, target) as prepared:
                    prepared.attach().close()
                print(item, "was attached")
    assert len(tried) >= 3


def test_ambiguous_names_are_refused(host, found):
    """Also when they are named in full."""
    for item in sample((item for item in found.refused if item.reason is Reason.AMBIGUOUS), 1):
        with pytest.raises(AttachError, match="several functions have this name"):
            find_targets(host, [item.name])


def test_types(host):
    """The same function by its name, its argument, its result."""
    for text in ("icmp_rc*(struct sk_buff *skb)", "int icmp_rcv(…)"):
        assert [target.name for target in find_targets(host, [text]).targets] == ["icmp_rcv"], text


@pytest.mark.parametrize("place", ["{id}", "{tag}", "target", "targe?"])
def test_programs(place, load, host, require):
    """By id, tag, name and pattern, with its functions."""
    require(Feature.PROGRAM_TARGETS, True)
    program = load("targets", "target").programs["target"].program
    place = place.format(id=program.id, tag=program.info.tag)
    main = find_targets(host, [f"prog:{place}"]).targets
    parts = find_targets(host, [f"prog:{place}/*"]).targets
    try:
        assert [target.name for target in main] == [f"prog:{program.id}"]
        functions = [target.types.name_of(target.btf_id) for target in parts]
        assert functions[0] == "target"
        assert "add_up" in functions
    finally:
        for target in (*main, *parts):
            target.program.close()
