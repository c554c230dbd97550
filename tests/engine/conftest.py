"""A machine for a test, and programs written in assembler."""

from __future__ import annotations

import pytest

from fsession.btf.types import Func
from fsession.engine import Machine
from fsession.engine.jit import native
from fsession.host import LoadRequest
from fsession.isa.asm import assemble
from fsession.isa.insn import call_kfunc
from fsession.uapi import AttachType, ProgType

_KFUNCS = ("bpf_session_cookie", "bpf_session_is_return", "bpf_iter_num_new", "bpf_iter_num_next")
_FIRST = 0x600000


@pytest.fixture
def machine():
    if native() is None:
        pytest.skip("no machine code for this architecture")
    with Machine(verify=False) as made:
        yield made
    assert not made.failures


@pytest.fixture
def program(machine):
    """``program(text, "bpf_fentry_test1", AttachType.TRACE_FSESSION)``: assembled and loaded; a map
    is named ``{map}`` after the fds given, a kfunc is called by its name."""

    def load(text, target="", kind=AttachType.TRACE_FSESSION, name="test", **more):
        for at, kfunc in enumerate(_KFUNCS):
            text = text.replace(f"call {kfunc}", f"call {_FIRST + at}")
        types = machine.types()
        insns = tuple(
            call_kfunc(types.id_of(_KFUNCS[insn.imm - _FIRST], Func))
            if insn.is_call and not insn.src and insn.imm >= _FIRST
            else insn
            for insn in assemble(text)
        )
        id = types.id_of(target, Func) if target else 0
        if not target and kind is None:
            return machine.load(LoadRequest(name, ProgType.SYSCALL, insns, **more))
        return machine.load(
            LoadRequest(name, ProgType.TRACING, insns, kind, attach_btf_id=id, **more)
        )

    return load


@pytest.fixture
def numbers(machine):
    """An array map of 64 words and what is in it."""
    from fsession.spec import MapSpec
    from fsession.uapi import MapType

    made = machine.create_map(MapSpec("numbers", MapType.ARRAY, 4, 8, 64))
    made.words = lambda: [int.from_bytes(value, "little") for _, value in made.items()]
    return made
