"""System calls that make the kernel call a function we know, with words that we know.

Each trigger makes its call and returns what a session on the function must have seen.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import platform
import socket
import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass

import listing

__all__ = ["ANY", "ON_ENGINE", "POINTER", "TRIGGERS", "Call", "SystemCalls", "Word"]

libc = ctypes.CDLL(None, use_errno=True)

_SYS_FUTEX = {"x86_64": 202, "aarch64": 98}[platform.machine()]
_FUTEX_CMP_REQUEUE = 4
_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ = 19, 20, 21
_RTM_GETROUTE, _NLM_F_REQUEST, _RTA_DST, _RTA_SRC = 26, 1, 1, 2
_RT_TABLE_MAIN = 254

ON_ENGINE = os.environ.get("FSESSION_TEST_HOST") == "engine"
PAGE, USER_END = mmap.PAGESIZE, 1 << 48
POINTER = "a pointer of the host"
ANY = "anything"


@dataclass(frozen=True, slots=True)
class Word:
    """One argument slot: its value, and how many of its bytes the C type has."""

    value: int | str
    size: int = 8

    def agrees(self, seen: int) -> bool:
        """Bytes above the type's are not defined."""
        if self.value == ANY:
            return True
        if self.value == POINTER:
            # 57-bit addresses: 0xff11…, not 0xffff…
            return PAGE <= seen < USER_END if ON_ENGINE else seen >> 56 == 0xFF
        assert isinstance(self.value, int)
        mask = (1 << 8 * self.size) - 1
        return seen & mask == self.value & mask


@dataclass(frozen=True, slots=True)
class Call:
    """The words of one call and what the function returned; None for a void function."""

    words: tuple[Word, ...]
    result: Word | None


def _int(value: int) -> Word:
    return Word(value, 4)


def _call(*words: int | str | Word, result: int | str | Word | None) -> Call:
    made = tuple(word if isinstance(word, Word) else Word(word) for word in words)
    return Call(made, result if isinstance(result, Word | None) else Word(result))


def futex() -> Call:
    """``do_futex(u32 *, int, u32, ktime_t *, u32 *, u32, u32)``: 7 words, refused by its last."""
    first, second = ctypes.c_uint32(5), ctypes.c_uint32(0)
    places = ctypes.addressof(first), ctypes.addressof(second)
    status = libc.syscall(
        ctypes.c_long(_SYS_FUTEX),
        ctypes.c_void_p(places[0]),
        ctypes.c_int(_FUTEX_CMP_REQUEUE),
        ctypes.c_uint32(11),
        ctypes.c_void_p(12),
        ctypes.c_void_p(places[1]),
        ctypes.c_uint32(6),  # is not what `first` holds
    )
    assert (status, ctypes.get_errno()) == (-1, errno.EAGAIN)
    words = (places[0], _int(_FUTEX_CMP_REQUEUE), _int(11), 0, places[1], _int(12), _int(6))
    return _call(*words, result=-errno.EAGAIN)


def getsockopt() -> Call:
    """``do_sock_getsockopt(…, sockptr_t optval, sockptr_t optlen)``: two structs of 16 bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        value, size = ctypes.c_int(0), ctypes.c_uint32(4)
        status = libc.getsockopt(
            udp.fileno(),
            socket.SOL_SOCKET,
            socket.SO_TYPE,
            ctypes.byref(value),
            ctypes.byref(size),
        )
    assert (status, value.value) == (0, socket.SOCK_DGRAM)
    names = (_int(socket.SOL_SOCKET), _int(socket.SO_TYPE))
    places = (ctypes.addressof(value), Word(0, 1), ctypes.addressof(size), Word(0, 1))
    return _call(POINTER, Word(0, 1), *names, *places, result=_int(0))


def map_memory() -> Call:
    """``do_mmap(file, addr, len, prot, flags, vm_flags, pgoff, populate, uf)``: 9 words."""
    hint, size, page = 0x7E00_0000_0000 >> 2, 3 * mmap.PAGESIZE, 5
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    libc.mmap.restype = ctypes.c_void_p
    place = libc.mmap(
        ctypes.c_void_p(hint),
        ctypes.c_size_t(size),
        mmap.PROT_READ,
        flags,
        -1,
        ctypes.c_long(page * mmap.PAGESIZE),
    )
    libc.munmap(ctypes.c_void_p(place), ctypes.c_size_t(size))
    known = (0, hint, size, mmap.PROT_READ, flags)
    return _call(*known, 0, page, POINTER, POINTER, result=place)


def send_datagram() -> Call:
    """``ip_make_skb(…, int length, int transhdrlen, …, unsigned int flags)``: 10 words."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x" * 33, socket.MSG_DONTWAIT, ("127.0.0.1", 9))
    sizes = (_int(33 + 8), _int(8))
    flags = _int(socket.MSG_DONTWAIT)
    return _call(*4 * [POINTER], *sizes, *3 * [POINTER], flags, result=POINTER)


def ask_route() -> Call:
    """``rt_fill_info(net, dst, src, rt, table, dscp, fl4, skb, portid, seq, flags)``: 11 words."""
    to, of = socket.inet_aton("127.0.0.1"), socket.inet_aton("127.0.0.2")
    route = struct.pack("=8BI", socket.AF_INET, 32, 32, 0, 0, 0, 0, 0, 0)
    attributes = struct.pack("=HH4sHH4s", 8, _RTA_DST, to, 8, _RTA_SRC, of)
    sequence = 0x00C0FFEE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.bind((0, 0))
        port = netlink.getsockname()[0]
        body = route + attributes
        head = struct.pack("=IHHII", 16 + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, sequence, port)
        netlink.send(head + body)
        answer = netlink.recv(4096)
    assert struct.unpack_from("=H", answer, 4)[0] == 24  # RTM_NEWROUTE
    addresses = (_int(int.from_bytes(address, "little")) for address in (to, of))
    table, identity = _int(_RT_TABLE_MAIN), (_int(port), _int(sequence), _int(0))
    return _call(
        POINTER, *addresses, POINTER, table, Word(0, 1), POINTER, POINTER, *identity,
        result=_int(0),
    )  # fmt: skip


def answer_late_segment() -> Call:
    """``tcp_v4_send_ack(sk, skb, seq, ack, …, tos, txhash)``: 12 words, void.

    A segment out of order for a connection in TIME_WAIT is answered with an ACK that repeats its
    state, which we read from the socket before.
    """
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        peer = stack.enter_context(server.accept()[0])
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x48)
        ports = client.getsockname()[1], peer.getsockname()[1]
        sent, received = _next_numbers(client)
        client.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""
        peer.close()
        assert client.recv(1) == b""
        client.close()
        raw = stack.enter_context(
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        )
        raw.sendto(_segment(ports[1], ports[0], received - 5000, sent), ("127.0.0.1", 0))
    numbers = (_int(sent + 1), _int(received + 1))  # each side's FIN counts for one
    rest = (ANY, ANY, ANY, _int(0), ANY, _int(0), Word(0x48, 1), ANY)
    return _call(POINTER, POINTER, *numbers, *rest, result=None)


def _next_numbers(connection: socket.socket) -> tuple[int, int]:
    """The sequence numbers of the next byte to send and to receive."""
    numbers = []
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    for queue in (2, 1):  # TCP_SEND_QUEUE, TCP_RECV_QUEUE
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, queue)
        number = connection.getsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ, 4)
        numbers.append(int.from_bytes(number, "little"))
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, -1)  # without a window probe
    return numbers[0], numbers[1]


def _segment(source: int, destination: int, sequence: int, acknowledged: int) -> bytes:
    """A TCP segment with one byte of data, from and to 127.0.0.1."""
    number = struct.pack("!II", sequence % 2**32, acknowledged % 2**32)
    head = (
        struct.pack("!HH", source, destination) + number + struct.pack("!BBH", 5 << 4, 0x10, 1024)
    )
    rest = struct.pack("!H", 0) + b"x\0"  # no urgent data; the byte and its padding
    pseudo = 2 * socket.inet_aton("127.0.0.1") + struct.pack("!BBH", 0, 6, 21)
    total = sum(struct.unpack("!16H", pseudo + head + rest))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head + struct.pack("!H", ~total & 0xFFFF) + rest[:3]


def change_priority() -> Call:
    """``void set_user_nice(struct task_struct *, long)``."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, 7)
    os.setpriority(os.PRIO_PROCESS, 0, before)
    return _call(POINTER, 7, result=None)


def ask_owner() -> Call:
    """``uid_t from_kuid_munged(struct user_namespace *, kuid_t)``: a struct of 4 bytes."""
    user = 1234
    file = os.memfd_create("owned")
    os.fchown(file, user, -1)
    seen = os.fstat(file).st_uid
    os.close(file)
    assert seen == user
    return _call(POINTER, _int(user), result=_int(user))


def setsockopt() -> Call:
    """``ip_setsockopt(sk, level, optname, sockptr_t optval, optlen)``: a struct of 16 bytes."""
    value = ctypes.c_int(33)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        status = libc.setsockopt(
            udp.fileno(), socket.IPPROTO_IP, socket.IP_TTL, ctypes.byref(value), ctypes.c_uint32(4)
        )
    assert status == 0
    names = (_int(socket.IPPROTO_IP), _int(socket.IP_TTL))
    place = (ctypes.addressof(value), Word(0, 1))
    return _call(POINTER, *names, *place, _int(4), result=_int(0))


# Program of args.bpf.c and the function it is on -> what makes the kernel call that function.
TRIGGERS = {
    "words_7": ("do_futex", futex),
    "words_8": ("do_sock_getsockopt", getsockopt),
    "words_9": ("do_mmap", map_memory),
    "words_10": ("ip_make_skb", send_datagram),
    "words_11": ("rt_fill_info", ask_route),
    "words_12": ("tcp_v4_send_ack", answer_late_segment),
    "void_function": ("set_user_nice", change_priority),
    "small_struct": ("from_kuid_munged", ask_owner),
    "wide_struct": ("ip_setsockopt", setsockopt),
}


def nest_epoll(levels: int) -> None:
    """Put epoll descriptors into each other: ``ep_loop_check_proc`` then calls itself.

    The last addition checks a chain of `levels` descriptors, level 0 first.
    """
    import select

    with ExitStack() as stack:
        chain = [stack.enter_context(select.epoll()) for _ in range(levels + 1)]
        for inner, outer in itertools.pairwise(chain):
            outer.register(inner.fileno(), select.EPOLLIN)


class SystemCalls:
    """What makes a kernel call the functions that the suite's programs are on."""

    look_up = staticmethod(libc.getpgid)
    sleep = staticmethod(time.sleep)
    read_event = staticmethod(os.eventfd_read)
    nest = staticmethod(nest_epoll)
    holdings = staticmethod(listing.holdings)

    @staticmethod
    def trigger(name: str) -> Call:
        """Call the function of a program of args.bpf.c."""
        return TRIGGERS[name][1]()
