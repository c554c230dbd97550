"""An object from its spec to attached programs, on a host in memory; nothing is left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.attach.host import ALL, ONLY_FENTRY, FakeHost

from fsession.errors import AttachError, BadInputError, FsessionError, KernelError, NotFoundError
from fsession.isa.insn import InsnOff, alu, exit_, lddw
from fsession.isa.opcode import R0, R1, Alu
from fsession.session import Object
from fsession.spec import MapRef, MapSpec, ObjectSpec, ProgramSpec
from fsession.uapi import AttachType, MapType, ProgType

HITS = MapSpec("hits", MapType.ARRAY, 4, 8, 2)
CONSTANTS = MapSpec(".rodata", MapType.ARRAY, 4, 8, 1, data=b"constant", frozen=True)
FUNCTIONS = ["icmp_rcv", "icmp_send", "do_exit"]


def program(name: str, kind: AttachType | None, target: str = "icmp_rcv") -> ProgramSpec:
    insns = (lddw(R1, 0), alu(Alu.MOV, R0, imm=0), exit_())
    return ProgramSpec(
        name, ProgType.TRACING, insns, kind, target, relocs=(MapRef(InsnOff(0), "hits"),)
    )


SESSION = program("session", AttachType.TRACE_FSESSION)
ENTRY = program("entry", AttachType.TRACE_FENTRY, "icmp_send")
MANY = program("many", AttachType.TRACE_FSESSION_MULTI, "icmp_*")
ANY = program("anywhere", AttachType.TRACE_FSESSION, "")
OTHER = replace(program("other", None, ""), type=ProgType.SOCKET_FILTER)
SPEC = ObjectSpec("test", (SESSION, ENTRY, MANY, ANY, OTHER), (HITS, CONSTANTS))


@pytest.fixture(params=[ALL, ONLY_FENTRY], ids=["native", "split"])
def host(request):
    host = FakeHost(FUNCTIONS, request.param)
    yield host
    assert not host.open


def test_all_of_it(host):
    with Object(SPEC) as obj:
        assert not obj.loaded
        with obj.load(host), obj.attach() as attachment:
            assert set(attachment.targets) == {"icmp_rcv", "icmp_send"}
            split = host.features == ONLY_FENTRY
            assert len(host.links) == len(attachment.links) == (7 if split else 3)
            assert obj.maps["hits"][0] == 0
            assert obj.raw_maps[".rodata"].frozen
            assert obj.raw_maps[".rodata"].lookup(bytes(4)) == b"constant"
        assert not host.open
        assert not obj.loaded


def test_loaded_again(host):
    obj = Object(SPEC)
    for _ in range(2):
        with obj.load(host), pytest.raises(FsessionError, match="loaded already"):
            obj.load(host)
        assert not host.open


def test_autoload(host):
    obj = Object(SPEC)
    for name in ("session", "many", "other"):
        obj.programs[name].autoload = False
    with obj.load(host), obj.attach() as attachment:
        assert attachment.targets == ("icmp_send",)
        assert [p.name for p in obj.programs.values() if p.is_loaded] == ["entry"]
        with pytest.raises(FsessionError, match="'session' is not loaded"):
            _ = obj.programs["session"].info


@pytest.mark.parametrize("wrong", ["map", "program"])
def test_nothing_is_left_when_loading_fails(host, wrong):
    if wrong == "map":
        spec = replace(SPEC, maps=(*SPEC.maps, replace(HITS, name="refused")))
    else:
        spec = replace(SPEC, programs=(*SPEC.programs, replace(SESSION, name="x", target="nosuch")))
    obj = Object(spec)
    with pytest.raises((KernelError, AttachError)):
        obj.load(host)
    assert not host.open
    assert not obj.loaded


def test_nothing_is_left_when_attaching_fails(host):
    host.full = frozenset({"icmp_send"})
    spec = replace(SPEC, programs=(SESSION, ENTRY))
    with Object(spec).load(host) as obj:
        with pytest.raises(AttachError, match="icmp_send"):
            obj.attach()
        assert not host.links


def test_closing_the_object_detaches(host):
    obj = Object(SPEC).load(host)
    attachment = obj.attach()
    obj.programs["anywhere"].attach("icmp_send")
    obj.close()
    assert not host.open
    attachment.close()
    obj.close()


def test_target_at_attach(host):
    with Object(SPEC).load(host) as obj:
        anywhere = obj.programs["anywhere"]
        assert not anywhere.is_loaded
        with pytest.raises(FsessionError, match="has no target"):
            anywhere.attach()
        with anywhere.attach("icmp_rcv"), anywhere.attach("icmp_send", cookie=3) as second:
            assert second.targets == ("icmp_send",)
            with pytest.raises(AttachError, match="already"):
                anywhere.attach("icmp_send")
        assert anywhere.info.name == "anywhere"


def test_one_form_for_one_strategy(host):
    """A strategy by its name is no second program beside what ``auto`` took."""
    with Object(SPEC).load(host) as obj:
        session = obj.programs["session"]
        with session.attach(), pytest.raises(AttachError, match="already"):
            session.attach(strategy=session.strategy)


@pytest.mark.parametrize(
    ("name", "target", "error", "words"),
    [
        ("session", "icmp_*", BadInputError, "one function"),
        ("session", "nosuch", AttachError, "not in the kernel's BTF"),
        ("session", "do_exit", AttachError, "never returns"),
        ("other", None, FsessionError, "not attached by us"),
    ],
)
def test_wrong_targets(host, name, target, error, words):
    with Object(SPEC).load(host) as obj, pytest.raises(error, match=words):
        obj.programs[name].attach(target)


def test_entry_of_what_never_returns(host):
    with Object(SPEC).load(host) as obj, obj.programs["entry"].attach("do_exit") as attachment:
        assert attachment.targets == ("do_exit",)


def test_many_leaves_out(host):
    with Object(SPEC).load(host) as obj, obj.programs["many"].attach("*") as attachment:
        assert attachment.targets == ("icmp_rcv", "icmp_send")
        assert [item.name for item in attachment.refused] == ["do_exit"]


def test_wrong_names():
    obj = Object(SPEC)
    with pytest.raises(NotFoundError, match="did you mean session"):
        obj.programs["sesion"]
    with pytest.raises(NotFoundError, match="map"):
        obj.maps["hits"]
    with pytest.raises(FsessionError, match="not loaded"):
        obj.programs["session"].attach()


def test_files_that_are_none(tmp_path):
    with pytest.raises(BadInputError, match="can't read"):
        Object.open(tmp_path / "nothing.o")
    (tmp_path / "text.o").write_text("no object")
    with pytest.raises(BadInputError):
        Object.open(tmp_path / "text.o")
