"""What tests of guests share."""

from __future__ import annotations

import random
import shutil

import pytest

from fsession.guest import MACHINES


@pytest.fixture
def seeded() -> random.Random:
    """The same random numbers in each run."""
    return random.Random(58)


@pytest.fixture(autouse=True)
def _emulator(request: pytest.FixtureRequest) -> None:
    """A guest test for a machine this host can't emulate is skipped, with the command to type."""
    if request.node.get_closest_marker("guest") is None:
        return
    params = getattr(request.node, "callspec", None)
    arch = params.params.get("arch", "x86_64") if params else "x86_64"
    machine = next(item for item in MACHINES if item.name == arch)
    if shutil.which(machine.qemu) is None:
        pytest.skip(f"needs {machine.qemu}: apt install {machine.qemu_package}")
