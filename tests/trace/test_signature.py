"""Functions as words of the trampoline's context."""

from __future__ import annotations

import pytest

from fsession.btf.types import Func
from fsession.errors import AttachError
from fsession.trace.record import Layout
from fsession.trace.signature import Failure, Shapes, signature

LAYOUTS = [
    ("icmp_rcv", Layout(1), Failure.INT),
    ("filp_open", Layout(3, 1), Failure.LONG),
    ("tick", Layout(0), Failure.NONE),
    ("give", Layout(3), Failure.LONG),
    ("drop", Layout(2), Failure.NONE),
    ("rename", Layout(2, 2), Failure.INT),
    ("crowd", Layout(12), Failure.INT),
]


@pytest.mark.parametrize(("name", "layout", "failure"), LAYOUTS)
def test_layout(kernel, name, layout, failure):
    found = kernel.signature(name)
    assert found.layout == layout
    assert found.failure == failure


def test_a_record_of_one_word_has_64_bytes():
    assert Layout(1).size == 64


def test_words_of_a_struct(kernel):
    pair, once = kernel.signature("give").params
    assert (pair.slot, pair.slots) == (0, 2)
    assert (once.slot, once.slots) == (2, 1)


def test_what_the_verifier_does_not_load_is_read_by_a_helper(kernel):
    assert [param.direct for param in kernel.signature("drop").params] == [True, False]
    assert [param.direct for param in kernel.signature("filp_open").params] == [True, True, True]


REFUSED = [
    ("print", "can't attach to 'print': it takes a variable number of arguments"),
    ("too_many", "can't attach to 'too_many': it takes 14 words of arguments, more than 12"),
]


@pytest.mark.parametrize(("name", "message"), REFUSED)
def test_refused(kernel, name, message):
    with pytest.raises(AttachError) as caught:
        signature(kernel.types, kernel.types.id_of(name, Func), name)
    assert str(caught.value) == message


def test_label_names_the_module(kernel):
    assert kernel.signature("tick", "nf_conntrack").label == "nf_conntrack:tick"


@pytest.mark.parametrize("name", [row[0] for row in LAYOUTS])
def test_shapes_are_those_of_signatures(kernel, name):
    shapes = Shapes(kernel.types)
    shape = kernel.signature(name).shape
    for _ in range(2):  # the second time from what is kept
        assert shapes.of(kernel.types.id_of(name, Func), shape.slots) == shape
