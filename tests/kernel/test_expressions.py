"""Expressions of C, compiled here and computed in the guest, equal what gcc computed before."""

from __future__ import annotations

import json
import struct

import pytest

from fsession.btf.catalog import Types
from fsession.engine import Machine
from fsession.host import LoadRequest
from fsession.isa.insn import InsnOff, decode
from fsession.spec import FuncInfo
from fsession.uapi import ProgType
from triggers import ON_ENGINE


@pytest.fixture(scope="module")
def batches(objects):
    path = objects / "expressions.json"
    if not path.exists():
        pytest.skip("no expressions.json: it takes half a minute to make, for guests it is made")
    return json.loads(path.read_text())


@pytest.fixture
def computer(host):
    """The engine's verifier judges tracing programs only, and these are started by themselves."""
    if not ON_ENGINE:
        yield host
        return
    with Machine(verify=False) as machine:
        yield machine


def test_expressions(computer, batches):
    """Each batch is one program: see tests/lang/run.py."""
    compared = 0
    for batch in batches:
        request = LoadRequest(
            name="expressions",
            type=ProgType.SYSCALL,
            insns=decode(bytes.fromhex(batch["insns"])),
            types=Types.from_bytes(bytes.fromhex(batch["types"])),
            funcs=tuple(FuncInfo(InsnOff(at), type) for at, type in batch["funcs"]),
            sleepable=True,
        )
        with computer.load(request) as program:
            for words, expected in zip(batch["inputs"], batch["expected"], strict=True):
                context = struct.pack(f"<{len(words)}Q", *words)
                done = program.test_run(ctx=context + bytes(8 * len(expected)))
                seen = struct.unpack_from(f"<{len(expected)}Q", done.ctx_out, len(context))
                wrong = [
                    (text, words, hex(ours), hex(theirs))
                    for text, ours, theirs in zip(batch["texts"], seen, expected, strict=True)
                    if ours != theirs
                ]
                assert not wrong
        compared += len(batch["texts"])
    assert compared >= 2030  # expressions of C, and functions of Python
