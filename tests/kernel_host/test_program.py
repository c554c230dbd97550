"""Programs and links of this kernel: loaded, run, named, pinned, listed, attached."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from shutil import which

import pytest

from fsession.btf.encode import Builder
from fsession.btf.types import Func, FuncProto, Int
from fsession.errors import FsessionError, KernelError, VerifierError
from fsession.host import Feature, LoadRequest
from fsession.isa.insn import InsnOff, alu, call_helper, decode, exit_, ldx, load_map_fd, mov, stx
from fsession.isa.insn import st as store
from fsession.isa.opcode import R0, R1, R2, R10, Alu, Size
from fsession.kernel import (
    KernelHost,
    link_by_id,
    link_ids,
    pinned_link,
    pinned_map,
    pinned_program,
    program_by_id,
    program_ids,
)
from fsession.spec import FuncInfo, LineInfo, MapSpec
from fsession.uapi import AttachType, FuncId, LinkType, MapType, ProgType

pytestmark = pytest.mark.kernel

LONG_NAME = "a_name_that_is_longer_than_15_bytes"
RETURN_5 = (alu(Alu.MOV, R0, imm=5), exit_())
TARGET = "bpf_fentry_test1"


@pytest.fixture(scope="module")
def host():
    with KernelHost() as host:
        yield host


@pytest.fixture
def bpffs(tmp_path: Path):
    """A BPF file system of the test's own."""
    subprocess.run(["mount", "-t", "bpf", "bpf", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def need(host: KernelHost, feature: Feature) -> None:
    try:
        missing = host.why_not(feature)
    except KernelError as error:
        missing = str(error)
    if missing:
        pytest.skip(f"{feature.value}: {missing}")


def with_btf(name: str) -> LoadRequest:
    """A program that returns 5, with the BTF of a function named `name` and a source line."""
    build = Builder()
    func = build.add(Func(name, build.add(FuncProto(build.add(Int("int", 4, 32, 1)), ())), 1))
    return LoadRequest(
        name,
        ProgType.SOCKET_FILTER,
        RETURN_5,
        types=build.types(),
        funcs=(FuncInfo(InsnOff(0), func),),
        lines=(LineInfo(InsnOff(0), "five.c", "\treturn 5;", 3, 9),),
    )


def test_what_was_loaded_is_told(host: KernelHost):
    with (
        host.create_map(MapSpec("used", MapType.ARRAY, 4, 8, 1)) as used,
        host.load(
            LoadRequest("uses", ProgType.SOCKET_FILTER, (load_map_fd(R1, used.fd), *RETURN_5))
        ) as program,
    ):
        info = program.info
        assert (info.id, info.type, info.name) == (program.id, ProgType.SOCKET_FILTER, "uses")
        assert info.map_ids == (used.id,)
        assert len(bytes.fromhex(info.tag)) == 8
        assert program.fdinfo["prog_id"] == program.id
        assert decode(program.xlated())[-2:] == RETURN_5


def test_bpftool_shows_the_whole_name_and_the_source(host: KernelHost):
    if not which("bpftool"):
        pytest.skip("no bpftool on this machine")
    with host.load(with_btf(LONG_NAME)) as program:
        shown = subprocess.run(
            ["bpftool", "prog", "show", "id", str(program.id)], capture_output=True, check=True
        ).stdout
        dump = subprocess.run(
            ["bpftool", "prog", "dump", "xlated", "id", str(program.id), "linum"],
            capture_output=True,
            check=True,
        ).stdout
        types = host.program_types(program)
    assert f"name {LONG_NAME} ".encode() in shown
    assert b"return 5; [file:five.c line_num:3 line_col:9]" in dump
    assert types.find(LONG_NAME, Func)


def test_by_id_by_pin_and_in_the_list(host: KernelHost, bpffs: Path):
    path = str(bpffs / "five")
    with host.load(with_btf(LONG_NAME)) as program:
        number = program.id
        assert number in program_ids()
        program.pin(path)
        with program_by_id(number) as again:
            assert again.name == LONG_NAME[:15]
    assert number in program_ids()  # by its pin
    with pinned_program(path) as pinned:
        assert pinned.id == number
        assert pinned.test_run(data=bytes(14)).retval == 5
    Path(path).unlink()
    assert number not in program_ids()
    with pytest.raises(KernelError) as refused:
        program_by_id(number)
    assert refused.value.errno == 2


def test_a_pinned_map_is_opened(host: KernelHost, bpffs: Path):
    path = str(bpffs / "map")
    assert host.open_pinned_map(path) is None
    with host.create_map(MapSpec("pinned", MapType.ARRAY, 4, 8, 1)) as made:
        made.pin(path)
        with pinned_map(path, host.cpu_count) as again:
            assert again.id == made.id


def test_runs_of_each_kind(host: KernelHost):
    with host.load(LoadRequest("five", ProgType.SOCKET_FILTER, RETURN_5)) as program:
        result = program.test_run(data=bytes(range(64)), repeat=100)
        assert (result.retval, len(result.data_out)) == (5, 64)
        assert result.data_out[14:] == bytes(range(14, 64))  # behind the Ethernet header
    first = (ldx(Size.DW, R0, R1, 8), exit_())
    with host.load(LoadRequest("raw", ProgType.RAW_TRACEPOINT, first)) as program:
        assert program.test_run(ctx=struct.pack("<QQ", 1, 77)).retval == 77
    # By a register: constants could not be stored to a context before Linux 6.4.
    answer = (alu(Alu.MOV, R2, imm=9), stx(Size.W, R1, R2, 4), alu(Alu.MOV, R0, imm=3), exit_())
    with host.load(LoadRequest("call", ProgType.SYSCALL, answer, sleepable=True)) as program:
        result = program.test_run(ctx=bytes(8))
        assert (result.retval, result.ctx_out) == (3, struct.pack("<II", 0, 9))


def test_a_run_changes_maps(host: KernelHost):
    with host.create_map(MapSpec("count", MapType.ARRAY, 4, 8, 1)) as counts:
        insns = (
            store(Size.W, R10, -4, 0),
            store(Size.DW, R10, -16, 41),
            load_map_fd(R1, counts.fd),
            mov(R2, R10),
            alu(Alu.ADD, R2, imm=-4),
            mov(3, R10),
            alu(Alu.ADD, 3, imm=-16),
            alu(Alu.MOV, 4, imm=0),
            call_helper(FuncId.map_update_elem),
            alu(Alu.MOV, R0, imm=0),
            exit_(),
        )
        with host.load(LoadRequest("writes", ProgType.RAW_TRACEPOINT, insns)) as program:
            program.test_run()
        assert counts.lookup(bytes(4)) == struct.pack("<Q", 41)


def test_names_keep_what_the_kernel_allows(host: KernelHost):
    with host.load(LoadRequest("my-prog é", ProgType.SOCKET_FILTER, RETURN_5)) as program:
        assert program.name == "my-prog é"
        with program_by_id(program.id) as again:
            assert again.name == "my_prog___"


def test_a_program_with_btf_that_this_kernel_refuses_is_loaded_without(host: KernelHost):
    request = with_btf("not a name")
    with host.load(request) as program:
        assert program.info.btf_id == 0
        assert program.test_run(data=bytes(14)).retval == 5


def test_a_refused_attach_type_is_an_error_of_the_program(host: KernelHost):
    request = LoadRequest("nobody", ProgType.TRACING, RETURN_5, attach_type=AttachType.TRACE_FENTRY)
    with pytest.raises(FsessionError, match="nobody"):
        host.load(request)


def test_descriptors_are_not_inherited(host: KernelHost):
    with host.load(LoadRequest("five", ProgType.SOCKET_FILTER, RETURN_5)) as program:
        assert os.get_inheritable(program.fd) is False


def open_fds() -> set[int]:
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}


def test_nothing_stays_open(host: KernelHost):
    before = open_fds()
    with host.load(with_btf(LONG_NAME)):
        pass
    with pytest.raises(VerifierError):
        host.load(LoadRequest("bad", ProgType.SOCKET_FILTER, (exit_(),)))
    assert open_fds() == before


# -- links: need a kernel that attaches ---------------------------------------------------------


def tracing(host: KernelHost, kind: AttachType) -> LoadRequest:
    target = host.types().id_of(TARGET, Func)
    insns = (alu(Alu.MOV, R0, imm=0), exit_())
    return LoadRequest("traces", ProgType.TRACING, insns, attach_type=kind, attach_btf_id=target)


KINDS = [
    (Feature.FENTRY, AttachType.TRACE_FENTRY),
    (Feature.FENTRY, AttachType.TRACE_FEXIT),
    (Feature.FSESSION, AttachType.TRACE_FSESSION),
]


@pytest.mark.parametrize(("feature", "kind"), KINDS, ids=[kind.name for _, kind in KINDS])
def test_a_link_is_told_and_goes_away(host: KernelHost, feature: Feature, kind: AttachType):
    need(host, feature)
    with host.load(tracing(host, kind)) as program:
        with host.link(program, kind) as link:
            info = link.info
            assert (info.type, info.program_id) == (LinkType.TRACING, program.id)
            assert (info.attach_type, info.id) == (kind, link.id)
            assert info.target_btf_id == host.types().id_of(TARGET, Func)
            assert link.id in link_ids()
            with link_by_id(link.id) as again:
                assert again.info == info
            with pytest.raises(KernelError) as refused:
                link.detach()
            assert refused.value.errno == 95  # EOPNOTSUPP: closing is detaching
            with pytest.raises(KernelError) as twice:
                host.link(program, kind)
            assert twice.value.errno == 16  # EBUSY
            number = info.id
        assert number not in link_ids()
        host.link(program, kind).close()  # and again


def test_a_link_keeps_its_cookie(host: KernelHost):
    need(host, Feature.ATTACH_COOKIE)
    kind = AttachType.TRACE_FENTRY
    with (
        host.load(tracing(host, kind)) as program,
        host.link(program, kind, cookie=(1 << 64) - 2) as link,
    ):
        shown = "cookie" in Path(f"/proc/self/fdinfo/{link.fd}").read_text()
        assert link.info.cookie == ((1 << 64) - 2 if shown else 0)


def test_a_pinned_link_outlives_its_owner(host: KernelHost, bpffs: Path):
    need(host, Feature.FENTRY)
    kind = AttachType.TRACE_FENTRY
    with host.load(tracing(host, kind)) as program, host.link(program, kind) as link:
        number = link.id
        link.pin(str(bpffs / "link"))
    with pinned_link(str(bpffs / "link")) as again:
        assert again.id == number
    (bpffs / "link").unlink()
    assert number not in link_ids()


def test_one_link_of_many_functions_or_none(host: KernelHost):
    need(host, Feature.FSESSION_MULTI)
    kind = AttachType.TRACE_FSESSION_MULTI
    types = host.types()
    ids = [types.id_of(f"bpf_fentry_test{number}", Func) for number in (1, 2, 3)]
    request = LoadRequest(
        "many", ProgType.TRACING, (alu(Alu.MOV, R0, imm=0), exit_()), attach_type=kind
    )
    with host.load(request) as program:
        before = set(link_ids())
        with pytest.raises(KernelError) as refused:
            host.link_multi(program, kind, [*ids, ids[0]])
        assert refused.value.errno == 22
        assert set(link_ids()) == before
        with host.link_multi(program, kind, ids, [7, 8, 9]) as link:
            assert link.info.type == LinkType.TRACING_MULTI
            assert link.info.program_id == program.id
