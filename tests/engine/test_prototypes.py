"""Libraries with what is known of their functions: by debug info, by BTF, by declarations."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from fsession.btf.format import prototype
from fsession.btf.types import Func
from fsession.engine.jit import native
from fsession.engine.prototypes import library_machine, split_declarations
from fsession.errors import AttachError, BadInputError, FsessionError
from fsession.tracer import trace

SOURCE = Path(__file__).parent / "library.c"
FUNCTIONS = ["add", "counted", "deep", "helper", "name_len", "twice"]
DECLARED = ("long add(long a, long b)", "int name_len(const char *text, int kind, void *at)")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """``compiled("-g")``: the library, made with these options."""
    if native() is None:
        pytest.skip("no machine code for this architecture")
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    folder = tmp_path_factory.mktemp("libraries")

    def make(*options):
        out = folder / f"lib{''.join(options)}.so"
        if not out.exists():
            count = {"x86_64": 5, "aarch64": 2}[platform.machine()]
            entry = f"-fpatchable-function-entry={count}"
            command = ["gcc", "-O2", "-shared", "-fPIC", entry, *options, "-o", str(out)]
            subprocess.run([*command, str(SOURCE)], check=True)
        return str(out)

    return make


@pytest.fixture
def alone(monkeypatch):
    """Other tests leave threads behind; none of them is in the library."""
    monkeypatch.setattr("fsession.engine.libraries._only_thread", lambda: True)


@pytest.mark.parametrize("options", [("-g",), ("-gdwarf-4",), ("-gbtf",)], ids=" ".join)
def test_functions_by_debug_info(compiled, options):
    with library_machine([compiled(*options)]) as machine:
        names = list(machine.traceable())
        assert set(names) - {"mixed", "scaled", "never"} == set(FUNCTIONS)
        types = machine.types()
        shown = {name: prototype(types, types.id_of(name, Func)) for name in FUNCTIONS}
    assert shown["name_len"] == ("int name_len(const char *text, enum kind kind, struct point *at)")
    assert shown["counted"] == "count_t counted(struct pair both)"
    assert shown["helper"] == "int helper(const char *text)"


def test_structs_and_enums(compiled):
    with library_machine([compiled("-g")]) as machine:
        both = machine.new("struct pair", first=-3, second=9, flag=5, rest=17)
        assert bytes(both)[:12] == (-3).to_bytes(8, "little", signed=True) + b"\x09\0\x8d\0"
        assert machine.types().get("kind").values[1].value == 7


def test_calls_inside_the_library_are_traced(compiled, alone):
    path = compiled("-g")
    with library_machine([path]) as machine, trace("*", host=machine) as calls:
        library = ctypes.CDLL(path)
        at = (ctypes.c_int * 2)(3, 4)
        assert (library.twice(5), library.name_len(b"hello", 7, at)) == (10, 15)
        found = [(str(call.function), dict(call.args), call.ret) for call in calls.read(0)]
        skipped = calls.selection.skipped
    assert [(name, ret) for name, _, ret in found] == [
        ("add", 10), ("twice", 10), ("helper", 5), ("name_len", 15),
    ]  # fmt: skip
    assert found[2][1] == {"text": "hello"}
    assert str(found[3][1]["kind"]) == "FANCY"
    assert sorted(skipped.values()) == [2, 3]  # mixed, scaled; plain has no nops, vfork, never


WRONG = [
    ("scaled", "returns a float"),
    ("mixed", "argument 0 is a fwd 'mixed'"),
    ("plain", "entry is not patchable"),
    ("vfork", "returns twice or never"),
    ("never", "it never returns"),
    ("nothing", "not among the functions that the engine knows"),
]


@pytest.mark.parametrize(("name", "words"), WRONG, ids=[row[0] for row in WRONG])
def test_what_can_not_be_traced(compiled, name, words):
    with library_machine([compiled("-g")]) as machine, pytest.raises(AttachError, match=words):
        trace(name, host=machine).__enter__()


def test_declarations(compiled, alone):
    path = compiled("-s")
    with library_machine([path], DECLARED) as machine, trace("*", host=machine) as calls:
        library = ctypes.CDLL(path)
        library.twice(5)
        library.name_len(b"hello", 0, (ctypes.c_int * 2)(3, 4))
        found = {str(call.function): dict(call.args) for call in calls.read(0)}
    assert found["add"] == {"a": 5, "b": 5}
    assert found["name_len"]["text"] == "hello"


HEADER = """
#ifndef LIBRARY_H /* a (comment); */
#define MANY(a) \\
    f(a);
struct point { int x; struct { int z; } y; };
typedef int (*callback)(int);
extern "C" {
extern long add(long a,
                long b);  // the sum
int name_len(const char *text, enum kind kind, struct point *at) __attribute__((nonnull(1)));
static inline int square(int x) { if (x) { return x * x; } return 0; }
odd_t unknown(odd_t a);
}
#endif
"""


def test_headers(compiled):
    each = split_declarations(HEADER)
    assert each[0] == "extern long add(long a, long b)"
    assert [text.partition("(")[0].split()[-1] for text in each if "add" in text] == ["add"]
    with library_machine([compiled("-s")], [HEADER]) as machine:
        assert list(machine.traceable()) == ["add", "name_len"]


def test_libraries_that_say_nothing(compiled, tmp_path):
    with pytest.raises(AttachError, match="prototype of no function"):
        library_machine([compiled("-s")])
    with pytest.raises(AttachError, match="none of the libraries has"):
        library_machine([compiled("-s")], ["int nothing(void)"])
    with pytest.raises(BadInputError, match="no declaration"):
        library_machine([compiled("-s")], ["long add"])
    with pytest.raises(BadInputError, match="no shared library"):
        library_machine([str(SOURCE)])
    with pytest.raises(BadInputError, match="No such file"):
        library_machine([str(tmp_path / "no.so")])


def test_damaged_debug_info_is_refused(compiled, tmp_path):
    """Only errors of ours come out of whatever the file says."""
    data = bytearray(Path(compiled("-g")).read_bytes())
    start = data.find(b"name_len\0")
    refused = 0
    for at in range(start - 4000, start + 4000, 397):
        copy = bytearray(data)
        copy[at] ^= 0x15
        refused += _read(bytes(copy))
    assert refused < 21


def _read(data):
    from io import BytesIO

    from fsession.engine.collected import Collected
    from fsession.engine.dwarf import read_prototypes

    try:
        read_prototypes(BytesIO(data), Collected(), frozenset(range(1 << 14)))
    except FsessionError:
        return 1
    return 0


def test_one_machine_after_the_other(compiled, alone):
    """The entry keeps its jump: the next machine goes on with it, a second one at once can't."""
    path = compiled("-g")
    for _ in range(2):
        with library_machine([path]) as machine, trace("twice", host=machine) as calls:
            ctypes.CDLL(path).twice(2)
            assert len(calls.read(0)) == 1
            with library_machine([path]) as other, pytest.raises(AttachError, match="EBUSY"):
                trace("twice", host=other).__enter__()


def test_the_names_there_are(compiled):
    with library_machine([compiled("-g")]) as machine:
        for pattern in ("nothing", "nothing*"):
            with pytest.raises(AttachError) as caught:
                trace(pattern, host=machine).__enter__()
            assert any(note.startswith("there are: ") for note in caught.value.__notes__)
            assert "fsession list" not in str(caught.value.__notes__)
