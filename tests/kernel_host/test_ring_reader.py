"""The reader of ring buffers, on one of the kernel's that a program fills."""

from __future__ import annotations

import struct

import pytest

from fsession.host import LoadRequest
from fsession.isa.insn import Insn, alu, call_helper, exit_, load_map_fd, mov, stx
from fsession.isa.insn import st as store
from fsession.isa.opcode import R0, R1, R2, R3, R4, R6, R10, Alu, Size
from fsession.kernel import KernelHost, KernelMap
from fsession.ring import HEADER_BYTES
from fsession.spec import MapSpec
from fsession.uapi import FuncId, MapType, ProgType

pytestmark = pytest.mark.kernel

DISCARDED = 1 << 30

PER_RUN = 50


def _writer(ring: KernelMap, flags: int = 0) -> tuple[Insn, ...]:
    """A program that puts out 50 records of 16 bytes: its context's first word and their number."""
    one = (
        alu(Alu.ADD, R6, imm=1),
        stx(Size.DW, R10, R6, -8),
        load_map_fd(R1, ring.fd),
        mov(R2, R10),
        alu(Alu.ADD, R2, imm=-16),
        alu(Alu.MOV, R3, imm=16),
        alu(Alu.MOV, R4, imm=flags),
        call_helper(FuncId.ringbuf_output),
    )
    start = (store(Size.DW, R10, -16, 7), alu(Alu.MOV, R6, imm=0))
    return (*start, *one * PER_RUN, alu(Alu.MOV, R0, imm=0), exit_())


def split(batch: bytes) -> list[bytes]:
    """Records of a span, those discarded left out: the decoder's work, done slowly."""
    out, at = [], 0
    while at < len(batch):
        (head,) = struct.unpack_from("<I", batch, at)
        length = head & (DISCARDED - 1)
        if not head & DISCARDED:
            out.append(batch[at + HEADER_BYTES : at + HEADER_BYTES + length])
        at += HEADER_BYTES + length + -length % 8
    return out


@pytest.fixture
def host():
    with KernelHost() as host:
        yield host


@pytest.fixture
def ring(host):
    with host.create_map(MapSpec("ring", MapType.RINGBUF, 0, 0, 4096)) as ring:
        yield ring


@pytest.fixture
def writer(host, ring):
    request = LoadRequest("writer", ProgType.RAW_TRACEPOINT, _writer(ring))
    with host.load(request) as program:
        yield program


EXPECTED = [struct.pack("<QQ", 7, number) for number in range(1, PER_RUN + 1)]


def test_records_reach_the_callback_in_order_for_many_laps(host, ring, writer):
    got: list[bytes] = []
    with host.ring_buffer(ring, lambda record: got.append(bytes(record))) as reader:
        for _ in range(20):  # 1200 bytes each: the ring of 4096 wraps at different places
            got.clear()
            writer.test_run()
            assert reader.poll(0) == PER_RUN
            assert got == EXPECTED
        assert reader.poll(0) == 0


def test_a_batch_has_the_same_records(host, ring, writer):
    with host.ring_buffer(ring, lambda _: None) as reader:
        for _ in range(20):
            writer.test_run()
            assert split(reader.read_batch()) == EXPECTED


def test_waiting_ends_by_time_or_by_a_record(host, ring, writer):
    with host.ring_buffer(ring, lambda _: None) as reader:
        assert not reader.wait(0.01)
        writer.test_run()
        assert reader.wait(5)
        assert reader.poll(0) == PER_RUN
        assert not reader.wait(0.01)


def test_a_callback_that_raises_loses_only_its_own_record(host, ring, writer):
    got: list[bytes] = []

    def refuse_third(record: memoryview) -> None:
        got.append(bytes(record))
        if len(got) == 3:
            raise RuntimeError("third")

    writer.test_run()
    with host.ring_buffer(ring, refuse_third) as reader:
        with pytest.raises(RuntimeError, match="third"):
            reader.poll(0)
        assert reader.poll(0, most=2) == 2
        assert reader.poll(0) == PER_RUN - 5
    assert got == EXPECTED


def test_a_full_ring_drops_the_newest_and_keeps_whole_records(host, ring, writer):
    for _ in range(10):
        writer.test_run()
    with host.ring_buffer(ring, lambda _: None) as reader:
        records = split(reader.read_batch())
    assert records[:PER_RUN] == EXPECTED
    assert 4096 // 24 - 1 <= len(records) <= 4096 // 24
