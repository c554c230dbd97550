"""The relay against a guest that is a pair of sockets."""

from __future__ import annotations

import io
import math
import os
import socket
import threading
import time

import pytest

from fsession.guest.relay import Lost, Relay, TimedOut, accept, listening


class Guest:
    """Both ends of the ports of a guest without a terminal."""

    def __init__(self) -> None:
        self.here: dict[str, socket.socket] = {}
        self.there: dict[str, socket.socket] = {}
        for name in ("control", "out", "err", "in"):
            self.here[name], self.there[name] = socket.socketpair()
            self.here[name].setblocking(False)
        self.out, self.err = io.BytesIO(), io.BytesIO()

    def relay(self, source: int | None = None) -> Relay:
        sinks = {self.here["out"]: self.out, self.here["err"]: self.err}
        return Relay(self.here["control"], sinks, source, self.here["in"])

    def close(self) -> None:
        for stream in (*self.here.values(), *self.there.values()):
            stream.close()


@pytest.fixture
def guest():
    made = Guest()
    yield made
    made.close()


def soon() -> float:
    return time.monotonic() + 10


def test_streams_stay_apart_and_whole(guest) -> None:
    out, err = os.urandom(300_000), os.urandom(100_000)

    def act() -> None:
        guest.there["out"].sendall(out[:1000])
        guest.there["err"].sendall(err)
        guest.there["out"].sendall(out[1000:])
        guest.there["control"].sendall(b"exit 7\n")

    thread = threading.Thread(target=act)
    thread.start()
    assert guest.relay().wait("exit", soon()) == "7"
    thread.join()
    assert (guest.out.getvalue(), guest.err.getvalue()) == (out, err)


def test_a_line_may_come_in_pieces_and_others_before_it(guest) -> None:
    guest.there["control"].sendall(b"note x\r\nex")
    relay = guest.relay()
    timer = threading.Timer(0.05, guest.there["control"].sendall, [b"it 0\n"])
    timer.start()
    assert relay.wait("exit", soon()) == "0"
    timer.join()


def test_two_words_in_one_read(guest) -> None:
    guest.there["control"].sendall(b"up\nexit 3\n")
    relay = guest.relay()
    assert relay.wait("up", soon()) == ""
    assert relay.wait("exit", soon()) == "3"


def test_input_goes_in_and_ends(guest, tmp_path) -> None:
    content = os.urandom(500_000)
    path = tmp_path / "input"
    path.write_bytes(content)
    got: list[bytes] = []

    def act() -> None:
        while chunk := guest.there["in"].recv(4096):
            got.append(chunk)
        guest.there["control"].sendall(b"exit 0\n")

    thread = threading.Thread(target=act)
    thread.start()
    with path.open("rb") as source:
        relay = guest.relay(source.fileno())
        relay.open_source()
        relay.wait("exit", soon())
    thread.join()
    assert b"".join(got) == content


def test_no_input_ends_at_once(guest) -> None:
    guest.relay().open_source()
    assert guest.there["in"].recv(1) == b""


def test_input_waits_until_it_is_opened(guest, tmp_path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"x")
    guest.there["control"].sendall(b"up\n")
    with path.open("rb") as source:
        guest.relay(source.fileno()).wait("up", soon())
        assert source.tell() == 0


def test_a_guest_that_is_gone(guest) -> None:
    guest.there["out"].sendall(b"last words")
    guest.there["control"].close()
    with pytest.raises(Lost):
        guest.relay().wait("exit", math.inf)


def test_a_guest_that_takes_too_long(guest) -> None:
    guest.there["out"].sendall(b"so far")
    started = time.monotonic()
    with pytest.raises(TimedOut):
        guest.relay().wait("exit", started + 0.1)
    assert guest.out.getvalue() == b"so far"
    assert 0.1 <= time.monotonic() - started < 5


def test_a_sink_that_fails_ends_the_relay(guest) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise BrokenPipeError

    guest.out = Full()
    guest.there["out"].sendall(b"x")
    with pytest.raises(BrokenPipeError):
        guest.relay().wait("exit", soon())


def test_listeners_wait_for_qemu(tmp_path) -> None:
    with listening(tmp_path, [1, 2]) as listeners, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "2"))
        with accept(listeners[2], lambda: True) as connection:
            connection.send(b"x")
            assert client.recv(1) == b"x"
        with pytest.raises(Lost):
            accept(listeners[1], lambda: False)
