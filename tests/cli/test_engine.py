"""``fsession run --on engine``: what is asked of it, and what it refuses."""

from __future__ import annotations

import pytest

from fsession.cli.engine import parse_call
from fsession.cli.main import run
from fsession.errors import BadInputError

CALLS = [
    ("f()", "f()", ()),
    (" f ( 1,0x10 , -3) ", "f(1, 16, -3)", (1, 16, -3)),
]


@pytest.mark.parametrize(("text", "shown", "args"), CALLS)
def test_calls(text, shown, args):
    call = parse_call(text)
    assert (str(call), call.args) == (shown, args)


@pytest.mark.parametrize("text", ["f", "f(", "f(a)", "1f()", "f(1)(2)", "f(1,)"])
def test_what_is_no_call(text):
    with pytest.raises(BadInputError):
        parse_call(text)


@pytest.mark.parametrize(
    "words", [["--call", "f()"], ["--on", "engine", "--", "true"], ["--on", "moon"]]
)
def test_usage(words, capfd):
    assert run(["run", "/no/such.o", *words]) == 2
    assert "fsession: run: " in capfd.readouterr().err
