"""Wrong programs: what is said, where, with the line and a caret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fsession.errors import CompileError
from fsession.kernel import KernelHost
from fsession.lang import compile_programs
from lang.wrong import WRONG


@pytest.fixture(scope="module")
def host():
    with KernelHost() as host:
        yield host


@pytest.mark.kernel
@pytest.mark.parametrize(("program", "message"), WRONG, ids=[program.name for program, _ in WRONG])
def test_error(host, program, message):
    with pytest.raises(CompileError) as caught:
        compile_programs([program], host.types)
    error = caught.value
    said = re.sub(r"pointer to \d+ bytes", "pointer to 232 bytes", str(error))
    said = re.sub(r"of line \d+ gave", "of line N gave", said)
    assert said == f"{error.file}:{error.line}:{error.column}: {message}"
    assert error.file.endswith("wrong.py")
    line, caret, *_ = error.__notes__
    source = Path(error.file).read_text().splitlines()[error.line - 1]
    assert line == f"  {source}"
    assert caret.index("^") - 2 == error.column - 1
