"""Which strategy is taken, why, and what is said where none is there."""

from __future__ import annotations

import pytest
from tests.attach.host import ALL, NO_MULTI, ONLY_FENTRY

from fsession.attach import Strategy, choose
from fsession.errors import BadInputError, UnsupportedError
from fsession.host import Feature

NOTHING = frozenset[Feature]()


def why_not(features):
    return lambda feature: "" if feature in features else "EINVAL"


@pytest.mark.parametrize(
    ("features", "wanted", "many", "expected"),
    [
        pytest.param(ALL, "auto", False, Strategy.NATIVE, id="one function"),
        pytest.param(ALL, "auto", True, Strategy.MULTI, id="many"),
        pytest.param(NO_MULTI, "auto", True, Strategy.NATIVE, id="many without multi"),
        pytest.param(ONLY_FENTRY, "auto", False, Strategy.SPLIT, id="fentry only"),
        pytest.param(ONLY_FENTRY, "auto", True, Strategy.SPLIT, id="many, fentry only"),
        pytest.param(ALL, "split", True, Strategy.SPLIT, id="split as wanted"),
        pytest.param(ALL, "multi", False, Strategy.MULTI, id="multi as wanted"),
        pytest.param(ALL, "native", True, Strategy.NATIVE, id="native as wanted"),
    ],
)
def test_chosen(features, wanted, many, expected):
    plan = choose(why_not(features), wanted, many=many)
    assert plan.strategy is expected
    assert plan.reason


def test_reason_says_what_was_passed_over():
    assert "not native (fsession programs" in choose(why_not(ONLY_FENTRY)).reason


@pytest.mark.parametrize(
    ("features", "wanted", "missing"),
    [
        (ONLY_FENTRY, "native", Feature.FSESSION),
        (NO_MULTI, "multi", Feature.FSESSION_MULTI),
        (NOTHING, "auto", Feature.FENTRY),
        (ONLY_FENTRY - {Feature.ATOMICS}, "auto", Feature.ATOMICS),
    ],
)
def test_missing(features, wanted, missing):
    with pytest.raises(UnsupportedError) as error:
        choose(why_not(features), wanted)
    assert missing.value in str(error.value)


def test_unknown():
    with pytest.raises(BadInputError, match="sideways"):
        choose(why_not(ALL), "sideways")
