"""Each test that takes `toolchain` runs with every compiler and set of headers."""

from __future__ import annotations

import pytest
from tests.obj.build import TOOLCHAINS


@pytest.fixture(params=[chain.name for chain in TOOLCHAINS])
def toolchain(request: pytest.FixtureRequest) -> str:
    return str(request.param)
