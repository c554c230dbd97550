"""What ends a trace."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import pytest

from fsession.cli.follow import follow, workload_status
from fsession.cli.workload import Workload


class Source:
    def __init__(self):
        self.fd, self.end = os.pipe()

    def fileno(self):
        return self.fd


@pytest.fixture
def source():
    made = Source()
    yield made
    os.close(made.fd)
    os.close(made.end)


@pytest.fixture
def out(tmp_path):
    with (tmp_path / "out").open("w") as file:
        yield file


def test_the_reader(source, out):
    answers = iter([True, True, False])

    def read():
        os.write(source.end, b"!")
        return next(answers)

    assert not follow(source, read, out)
    assert list(answers) == []


def test_time(source, out):
    assert not follow(source, lambda: True, out, timeout_s=0.01)


def test_the_workload(source, out):
    with Workload(["sh", "-c", "exit 3"]) as workload:
        assert not follow(source, lambda: True, out, workload)
        assert workload_status(workload, interrupted=False) == 3


def test_a_limit_ends_the_workload(source, out):
    with Workload(["sleep", "1000"]) as workload:
        assert not follow(source, lambda: True, out, workload, timeout_s=0.01)
        assert workload_status(workload, interrupted=False) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal(source, out, number):
    before = signal.getsignal(number)

    def read():
        os.kill(os.getpid(), number)
        return True

    assert follow(source, read, out)
    assert signal.getsignal(number) == before


@pytest.fixture
def default_handler():
    """Of a process that a shell has not put in the background, where it would be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("default_handler")
def test_the_second_signal_is_not_held_back(source, out):
    def read():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return True

    with pytest.raises(KeyboardInterrupt):
        follow(source, read, out)


@contextmanager
def _closed_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as file:
        yield file


def test_nobody_reads_the_output(source):
    with _closed_pipe() as pipe, pytest.raises(BrokenPipeError):
        follow(source, lambda: True, pipe)
