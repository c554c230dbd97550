"""Calls, ring buffers, structs in structs: their IR and instructions, for a kernel of our own.

``pytest --update-goldens`` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import fsession
from fsession.errors import BadInputError
from fsession.isa.disasm import disassemble
from fsession.lang import EventDecoder, compile_programs, show
from fsession.lang.ctypes import Catalog
from fsession.lang.events import FunctionPointer
from fsession.lang.objects import struct_record
from lang.calls import PROGRAMS, Outer, pointer, small_kernel

GOLDENS = Path(__file__).parent / "data" / "calls"
TYPES = small_kernel()


def _compiled(function):
    made = fsession.program("fentry/set_user_nice")(function)
    return compile_programs([made], lambda _: TYPES)


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
def test_golden(function, pytestconfig):
    compiled = _compiled(function)
    (spec,) = compiled.spec.programs
    parts = [show(item) for item in compiled.functions[spec.name]]
    parts.append("\n".join(map(str, disassemble(spec.insns))))
    parts += [f"{item.name}: {item.type.name} {item.key_size} {item.value_size} {item.max_entries}"
              for item in compiled.spec.maps]  # fmt: skip
    text = "\n\n".join(parts) + "\n"
    golden = GOLDENS / f"{function.__name__}.txt"
    if pytestconfig.getoption("--update-goldens"):
        GOLDENS.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


def test_nested_struct_is_laid_out_as_c_does():
    catalog = Catalog(TYPES)
    record = struct_record(Outer, catalog)
    assert record.size == 24
    assert [(name, field.offset) for name, field in catalog.fields(record)] == [
        ("pair", 0), ("name", 16)
    ]  # fmt: skip


def test_struct_in_itself():
    class Loop(fsession.Struct):
        inner: Loop

    with pytest.raises(BadInputError, match="struct Loop is a member of itself"):
        struct_record(Loop, Catalog(TYPES))


@pytest.mark.parametrize("size", [0, 4095, 5000])
def test_size_of_a_ring(size):
    with pytest.raises(BadInputError, match=f"a ring buffer of {size} bytes"):
        fsession.RingBuf(size=size)


def test_ring_that_is_not_loaded():
    ring = fsession.RingBuf("u32")
    for use in (ring.read, ring.fileno, lambda: next(iter(ring))):
        with pytest.raises(BadInputError, match="this map is not loaded"):
            use()


def test_function_pointers_have_names():
    compiled = _compiled(pointer)
    record = bytes(8) + (0x1234).to_bytes(8, "little")
    (found,) = EventDecoder(
        compiled.events, lambda words: [f"at_{word:x}+0x0" for word in words]
    ).decode(record)
    assert isinstance(found, FunctionPointer)
    assert (found, found.name, repr(found)) == (0x1234, "at_1234", "at_1234")
    (nameless,) = EventDecoder(compiled.events).decode(record)
    assert (nameless.name, repr(nameless)) == ("", "0x1234")
