"""Source lines of a program that a compiler made here."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from fsession.errors import BadInputError
from fsession.obj.lines import SourceLines

SOURCE = """\
int twice(int x)
{
    return x + x;
}

int _start(void)
{
    return twice(21);
}
"""


@pytest.fixture(scope="module", params=["-gdwarf-4", "-gdwarf-5"])
def program(request, tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("lines")
    (folder / "part").mkdir()
    (folder / "part" / "twice.c").write_text(SOURCE)
    words = [compiler, request.param, "-O0", "-nostdlib", "-static", "-o", "program"]
    subprocess.run([*words, "part/twice.c"], cwd=folder, check=True)
    return folder / "program"


def test_lines(program):
    with SourceLines(program) as lines:
        start, other = lines.symbol("twice"), lines.symbol("_start")
        assert lines.line(start) in ("part/twice.c:1", "part/twice.c:2")
        assert lines.line(other) in ("part/twice.c:6", "part/twice.c:7")
        seen = {lines.line(at) for at in range(start, other)}
        assert "part/twice.c:3" in seen
        assert lines.line(0x10) is None
        assert lines.symbol("nothing") is None


def test_without_debug_info(program, tmp_path):
    bare = tmp_path / "bare"
    bare.write_bytes(program.read_bytes())
    subprocess.run(["strip", str(bare)], check=True)
    with pytest.raises(BadInputError, match="has no debug info"):
        SourceLines(bare)
    bare.write_bytes(b"no ELF")
    with pytest.raises(BadInputError, match="can't be read"):
        SourceLines(bare)
