"""Programs in Python from their file: what is found, what is said of files that are wrong."""

from __future__ import annotations

import pytest

from fsession.errors import BadInputError, CompileError, FsessionError
from fsession.kernel import KernelHost
from fsession.session.python import PythonObject

PROGRAM = """
import fsession

seen = fsession.Hash("u32", "u64", 16)
limit = fsession.Global("u32", 7)

@fsession.program("icmp_rcv", "fexit/icmp_rcv")
def icmp(ctx, skb):
    if skb.len > limit:
        seen[skb.len] += 1
        fsession.emit(length=skb.len)
"""


@pytest.fixture
def write(tmp_path):
    def make(text: str):
        path = tmp_path / "prog.py"
        path.write_text(text)
        return path

    return make


def test_open(write):
    obj = PythonObject.open(write(PROGRAM))
    assert [program.name for program in obj.programs] == ["icmp"]
    assert obj.name == "prog"
    assert (obj.fileno(), obj.read(0)) == (-1, [])
    with pytest.raises(FsessionError, match="is not loaded"):
        obj.attach()
    obj.close()


@pytest.mark.kernel
def test_compile(write):
    """One program for each target, in one object with the maps, variables and events."""
    with KernelHost() as host:
        compiled = PythonObject.open(write(PROGRAM)).compile(host)
    spec = compiled.spec
    assert [program.section for program in spec.programs] == ["fsession/icmp_rcv", "fexit/icmp_rcv"]
    assert [program.name for program in spec.programs] == ["icmp", "icmp_2"]
    assert {item.name for item in spec.maps} == {"seen", ".data", "events"}
    assert spec.maps[[item.name for item in spec.maps].index(".data")].data == b"\7\0\0\0"
    assert [(v.name, v.offset, v.size) for v in spec.variables] == [("limit", 0, 4)]
    assert [event.name for event in compiled.events] == ["icmp", "icmp_2"]
    first = spec.programs[0].lines[0]
    assert (first.at, first.text) == (0, "if skb.len > limit:")


WRONG = [
    ("no program", "x = 1\n", BadInputError, "prog has no programs"),
    ("no Python", "x = (\n", CompileError, "prog.py:1:5: '(' was never closed"),
    ("an exception", "\nx = 1 / 0\n", CompileError, "prog.py:2: ZeroDivisionError"),
    (
        "no target",
        "import fsession\n\n@fsession.program()\ndef f(ctx):\n    pass\n",
        BadInputError,
        "a program has a function of the kernel as its target",
    ),
]


@pytest.mark.parametrize(
    ("text", "kind", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_wrong_files(write, text, kind, message):
    with pytest.raises(kind) as caught:
        PythonObject.open(write(text))
    assert message in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(BadInputError, match="there is no file"):
        PythonObject.open(tmp_path / "none.py")


def test_called_outside():
    import fsession

    with pytest.raises(FsessionError, match="was called outside of a program"):
        fsession.ktime_get_ns()
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        fsession.no_such_name  # noqa: B018


def test_maps_are_descriptions_before_loading():
    import fsession

    table = fsession.Hash("u32", "u64", 16)
    with pytest.raises(BadInputError, match="not loaded"):
        table[1]
    with pytest.raises(BadInputError, match="0 entries"):
        fsession.Hash("u32", "u64", 0)
    variable = fsession.Global("u64", 5)
    variable.value = 6
    assert variable.value == 6
    double = fsession.function(lambda x: 2 * x)
    assert double(4) == 8
