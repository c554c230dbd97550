"""Global functions with pointers. The names in globals.bpf.c say what Linux 7.2 does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsession.session.verdicts import verdicts


@pytest.fixture(scope="module")
def found():
    path = os.environ.get("FSESSION_UAPI_BTF")
    if not path:
        pytest.skip("FSESSION_UAPI_BTF does not name the BTF of Linux 7.2")
    file = Path(__file__).parent / "globals.bpf.c"
    return {verdict.program: verdict for verdict in verdicts(str(file), "7.2", path)}


def test_verdicts_are_what_the_names_say(found):
    assert {name for name, verdict in found.items() if verdict.accepted} == {
        name for name in found if name.startswith("good_")
    }
    assert len(found) == 10


MESSAGES = {
    "bad_null": "arg#0 is expected to be non-NULL",
    "bad_unchecked": "R1 invalid mem access 'mem_or_null'",
    "bad_behind": "R1 min value is outside of the allowed memory range",
    "bad_number": "type=scalar expected=fp",
}


@pytest.mark.parametrize(("name", "message"), MESSAGES.items(), ids=MESSAGES)
def test_messages(found, name, message):
    assert message in found[name].message
