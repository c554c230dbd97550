"""What a session sees of a call: every argument word, the return value, on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from triggers import ANY, POINTER, Call, Word

if TYPE_CHECKING:
    from collections.abc import Sequence

WORDS = 12

# What a test run of a tracing program makes the kernel call: net/bpf/test_run.c.
FENTRY_TESTS = {
    "words_1": Call((Word(1, 4),), Word(2, 4)),
    "words_2": Call((Word(2, 4), Word(3)), Word(5, 4)),
    "words_3": Call((Word(4, 1), Word(5, 4), Word(6)), Word(15, 4)),
    "words_4": Call((Word(7), Word(8, 1), Word(9, 4), Word(10)), Word(34, 4)),
    "words_5": Call((Word(11), Word(12), Word(13, 2), Word(14, 4), Word(15)), Word(65, 4)),
    "words_6": Call(
        (Word(16), Word(17), Word(18, 2), Word(19, 4), Word(20), Word(21)), Word(111, 4)
    ),
    "pointer": Call((Word(POINTER),), Word(0, 4)),
}
# Pointers to a function and to a pointer: the context gives them since Linux 7.2.
HIDDEN = {"words_10": (2, 7)}
ANY_WORD = Word(ANY)
WIDTH = {"void_function": 2, "small_struct": 2, "wide_struct": 6, "pointer": 1} | {
    f"words_{count}": count for count in range(1, WORDS + 1)
}


def _watch(obj, poke, caller, name: str, tid: int) -> Call:
    """Make the host call the function of program `name` and say what the call was."""
    obj.globals["only_tid"] = tid
    if name in FENTRY_TESTS:
        poke.test_run()
        call = FENTRY_TESTS[name]
    else:
        call = caller.trigger(name)
    obj.globals["only_tid"] = 0
    return call


@pytest.fixture
def poke(load):
    return load("sessions", "poke").programs["poke"]


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
@pytest.mark.parametrize("name", WIDTH)
def test_words(name, strategy, load, poke, caller, facts, tid):
    """The context and the helpers agree with what was called, at the entry and at the exit."""
    if facts and WIDTH[name] > facts.words:
        pytest.skip(f"the trampoline takes {facts.words} argument words, not {WIDTH[name]}")
    obj = load("args", name)
    with obj.programs[name].attach(strategy=strategy):
        call = _watch(obj, poke, caller, name, tid)
    seen = obj.globals
    assert seen["calls"] == [1, 1]
    for side in (0, 1):
        direct = seen["direct"][side * (WORDS + 1) :][: len(call.words)]
        by_helper = seen["by_helper"][side * WORDS :][: len(call.words)]
        readable = [
            ANY_WORD if at in HIDDEN.get(name, ()) else w for at, w in enumerate(call.words)
        ]
        assert _disagreeing(readable, direct) == []
        assert _disagreeing(call.words, by_helper) == []
    assert seen["words"] == [len(call.words)] * 2
    assert seen["beyond"] == [-22, -22]  # EINVAL: there is no such argument


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
@pytest.mark.parametrize("name", ["words_1", "words_6", "small_struct", "wide_struct"])
def test_return_value(name, strategy, load, poke, caller, tid):
    """0 at the entry, what the function returned at the exit, both ways of reading it."""
    obj = load("args", name)
    with obj.programs[name].attach(strategy=strategy):
        result = _watch(obj, poke, caller, name, tid).result
    slots = obj.globals["direct"]
    count = WIDTH[name]
    assert slots[count] == 0
    assert result.agrees(slots[WORDS + 1 + count])
    assert obj.globals["returned_status"] == [0, 0]
    assert obj.globals["returned"][0] == 0
    assert result.agrees(obj.globals["returned"][1])


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
@pytest.mark.parametrize("name", ["words_7", "words_8", "words_9", "words_10", "words_11"])
def test_return_value_of_wide_functions(name, strategy, load, poke, caller, facts, tid):
    if facts and WIDTH[name] > facts.words:
        pytest.skip(f"the trampoline takes {facts.words} argument words, not {WIDTH[name]}")
    test_return_value(name, strategy, load, poke, caller, tid)


@pytest.mark.parametrize("strategy", ["multi"], indirect=True)
def test_words_of_many(strategy, load, poke, tid):
    """One multi program sees each function's own words: here those of the last one called."""
    obj = load("args", "many")
    target = "bpf_fentry_test6"
    with obj.programs["many"].attach(target, strategy=strategy):
        obj.globals["only_tid"] = tid
        poke.test_run()
        obj.globals["only_tid"] = 0
    call = FENTRY_TESTS["words_6"]
    seen = obj.globals
    assert seen["words"] == [6, 6]
    for side in (0, 1):
        assert _disagreeing(call.words, seen["by_helper"][side * WORDS :][:6]) == []
    assert seen["returned"] == [0, 111]


def _disagreeing(words: Sequence[Word], seen: list[int]) -> list[tuple[int, Word, str]]:
    pairs = enumerate(zip(words, seen, strict=True))
    return [(at, word, hex(value)) for at, (word, value) in pairs if not word.agrees(value)]
