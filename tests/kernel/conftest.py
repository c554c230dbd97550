"""Fixtures of the kernel suite. It runs in a guest, as root, with the objects compiled before;

with FSESSION_TEST_HOST=engine on the engine, anywhere: see on_engine.py.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fsession import Object
from fsession.host import Feature
from fsession.kernel import KernelHost
from fsession.obj import read_object
from matrix import Facts, this_kernel
from triggers import ON_ENGINE, SystemCalls

if ON_ENGINE:
    import on_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsession.host import Host
    from fsession.spec import ObjectSpec

HERE = Path(__file__).parent
LIMIT_S = 60
CYCLES_S = 0.5  # the kernel frees programs a moment after their last use
PATIENCE_S = 30  # under emulation, on a machine with other work

_STRATEGY_FEATURE = {
    "native": Feature.FSESSION,
    "multi": Feature.FSESSION_MULTI,
    "split": Feature.FENTRY,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE not in item.path.parents:
            continue
        if not ON_ENGINE:
            item.add_marker(pytest.mark.kernel)
        elif what := on_engine.missing(item.name, item.path.name):
            item.add_marker(pytest.mark.skip(f"the engine has no {what}"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many tests were skipped, by reason: a skip names the feature that is not there."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count:4} skipped: {reason}")


@pytest.fixture(scope="session")
def facts() -> Facts | None:
    """What is known of this kernel; None if it is none of the matrix."""
    return this_kernel()


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled programs."""
    folder = os.environ.get("FSESSION_TEST_OBJECTS")
    if not folder and ON_ENGINE:
        return on_engine.compile_objects(tmp_path_factory.mktemp("objects"))
    if not folder:
        pytest.skip("not in a guest: FSESSION_TEST_OBJECTS names no folder of compiled programs")
    return Path(folder)


@pytest.fixture(scope="session")
def host(objects: Path) -> Iterator[Host]:
    with on_engine.Engine() if ON_ENGINE else KernelHost() as host:
        for feature in Feature:  # what it learns and keeps open, it has before the first test
            host.supports(feature)
        yield host


@pytest.fixture(scope="session")
def caller(host: Host) -> Any:
    """What makes the host call the functions that the suite's programs are on."""
    return host if ON_ENGINE else SystemCalls()


@pytest.fixture
def require(host: Host, facts: Facts | None) -> Callable[[Feature, bool | None], None]:
    """Skip without a feature; fail where our own table says that the kernel has it."""

    def check(feature: Feature, known: bool | None = None) -> None:
        if host.supports(feature):
            return
        if known:
            pytest.fail(f"this kernel has {feature.value}, but: {host.why_not(feature)}")
        pytest.skip(f"no {feature.value}")

    return check


@pytest.fixture(params=["native", "multi", "split"])
def strategy(
    request: pytest.FixtureRequest,
    require: Callable[[Feature, bool | None], None],
    facts: Facts | None,
) -> str:
    """Each way of making a session that this kernel has."""
    name = str(request.param)
    if facts and not facts.tries(name):
        pytest.skip("split by force, beside native: tried on Linux 7.2 x86_64")
    require(_STRATEGY_FEATURE[name], facts and facts.has(name))
    return name


@pytest.fixture
def command_line(facts: Facts | None) -> None:
    """Of tests of what is the same on all kernels."""
    if facts and not facts.commands:
        pytest.skip("words, statuses, messages of the commands: tried on Linux 7.2 x86_64")


@cache
def _read(path: Path) -> ObjectSpec:
    """An object's spec is a value: it is read once for all tests."""
    return read_object(path.read_bytes(), path.name)


@pytest.fixture
def open_object(objects: Path) -> Iterator[Callable[..., Object]]:
    """``open_object("sessions", "session_a")``: an object of which `load` takes these programs."""
    opened = []

    def open_it(name: str, *programs: str) -> Object:
        spec = _read(objects / f"{name}.bpf.o")
        obj = Object(on_engine.without_unused_maps(spec, programs) if ON_ENGINE else spec)
        missing = set(programs) - set(obj.programs)
        assert not missing, f"{name} has no {missing}"
        for program_name, program in obj.programs.items():
            program.autoload = program_name in programs
        opened.append(obj)
        return obj

    yield open_it
    for obj in opened:
        obj.close()


@pytest.fixture
def load(host: Host, open_object: Callable[..., Object]) -> Callable[..., Object]:
    """``load("sessions", "session_a")``: an object with only the named programs loaded."""

    def open_and_load(name: str, *programs: str, host: Host = host) -> Object:
        return open_object(name, *programs).load(host)

    return open_and_load


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """A test that hangs fails, so that the others are heard of."""

    def give_up(*_: object) -> None:
        pytest.fail(f"not done after {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def nothing_left(caller: Any) -> Iterator[None]:
    """After each test the host and this process hold what they held before it."""
    before = caller.holdings()
    yield
    collected = time.monotonic() + CYCLES_S
    while new := caller.holdings().more_than(before):
        if time.monotonic() > collected:
            gc.collect()  # what only a cycle holds; it takes 0.2 s, so not after each test
            wait_for(lambda: not caller.holdings().more_than(before), f"left behind {new}")
        time.sleep(0.01)


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition` holds. The kernel frees programs a moment after the last use."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail(what)
        time.sleep(0.01)


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_for


@pytest.fixture
def tid() -> int:
    return threading.get_native_id()
