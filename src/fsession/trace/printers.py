"""What people want to see of a pointer to a well-known struct: expressions, and how they are put.

To add a struct, add a row to `PRINTERS`. An expression that has another name on other kernels is
written as several, of which the first that compiles is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.trace.network import socket_address
from fsession.trace.values import Address, Unreadable, Value, text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["PRINTERS", "Printer"]

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
_FAMILIES = {AF_UNIX: "unix", AF_NETLINK: "netlink"}
_PROTOCOLS = {0x0800: "IPv4", 0x86DD: "IPv6", 0x0806: "ARP", 0x8100: "VLAN"}
_OPERATIONS = {
    0: "read",
    1: "write",
    2: "flush",
    3: "discard",
    5: "secure erase",
    9: "write zeroes",
}


@frozen
class Printer:
    """`parts` are expressions of the pointer ``{0}``, each with its other spellings; `put` makes a
    text of their values."""

    parts: tuple[tuple[str, ...], ...]
    put: Callable[[Sequence[Value]], str]

    def show(self, values: Sequence[Value]) -> Value:
        """Unreadable, if nothing could be read."""
        if len(values) != len(self.parts):
            return Unreadable("incomplete")
        bad = [value for value in values if isinstance(value, Unreadable)]
        return bad[0] if len(bad) == len(values) else Address(self.put(values))


def _words(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _sock(values: Sequence[Value]) -> str:
    family, port, peer_port, own4, peer4, own6, peer6, state = values
    if family == AF_INET:
        pair = f"{own4!s}:{port!s} → {peer4!s}:{peer_port!s}"
    elif family == AF_INET6:
        pair = f"[{own6!s}]:{port!s} → [{peer6!s}]:{peer_port!s}"
    elif isinstance(family, int):
        return _FAMILIES.get(family, f"family {family}")
    else:
        return text(family)
    return f"{pair} {_STATES.get(state, text(state))}" if isinstance(state, int) else pair


_STATES = dict(
    enumerate(
        (
            "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
            "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV",
        ),
        1,
    )
)  # fmt: skip


def _sk_buff(values: Sequence[Value]) -> str:
    length, device, protocol = values
    number = protocol if isinstance(protocol, int) else 0
    kind = _PROTOCOLS.get(number, f"protocol {number:#06x}" if number else "")
    return _words(str(device) if isinstance(device, str) else "", f"{text(length)} bytes", kind)


def _file(values: Sequence[Value]) -> str:
    """The name with its folders, as many as there are values; ``…/`` in front of what is cut."""
    names = [value for value in values if isinstance(value, str)]
    out: list[str] = []
    for name in names:
        if name == "/":  # the root of a file system
            return "/" + "/".join(reversed(out))
        out.append(name)
    return ("…/" if len(names) == len(values) else "") + "/".join(reversed(out))


def _task(values: Sequence[Value]) -> str:
    comm, process, thread = values
    name = comm if isinstance(comm, str) else text(comm)
    return f"{name}/{text(process)}" + ("" if thread == process else f":{text(thread)}")


def _bio(values: Sequence[Value]) -> str:
    disk, sector, size, operation = values
    name = disk if isinstance(disk, str) else ""
    number = operation & 0xFF if isinstance(operation, int) else -1
    kind = _OPERATIONS.get(number, f"operation {number}")
    return _words(name, kind, f"sector {text(sector)}", f"{text(size)} bytes")


def _page(values: Sequence[Value]) -> str:
    index, count, mapping = values
    owner = f"mapping {mapping:#x}" if isinstance(mapping, int) and mapping else ""
    return _words(f"index {text(index)}", f"{text(count)} references", owner)


def _sockaddr(values: Sequence[Value]) -> str:
    """From as many bytes as can be read: that of IPv4 is shorter."""
    data = next((value for value in values if isinstance(value, bytes)), b"")
    return str(socket_address(data))


_SOCKADDR = Printer((("buf({0}, 28)",), ("buf({0}, 16)",)), _sockaddr)
_COMMON = "{0}->__sk_common."
_DENTRY = "{0}->f_path.dentry"

PRINTERS = {
    "sock": Printer(
        (
            (_COMMON + "skc_family",),
            (_COMMON + "skc_num",),
            (f"ntohs({_COMMON}skc_dport)",),
            (f"ip4({_COMMON}skc_rcv_saddr)",),
            (f"ip4({_COMMON}skc_daddr)",),
            (f"ip6({_COMMON}skc_v6_rcv_saddr)",),
            (f"ip6({_COMMON}skc_v6_daddr)",),
            (_COMMON + "skc_state",),
        ),
        _sock,
    ),
    "sockaddr": _SOCKADDR,
    "sockaddr_unsized": _SOCKADDR,
    "sk_buff": Printer((("{0}->len",), ("{0}->dev->name",), ("ntohs({0}->protocol)",)), _sk_buff),
    "file": Printer(
        tuple((f"{_DENTRY}{'->d_parent' * up}->d_name.name",) for up in range(4)), _file
    ),
    "task_struct": Printer((("{0}->comm",), ("{0}->tgid",), ("{0}->pid",)), _task),
    "bio": Printer(
        (
            ("{0}->bi_bdev->bd_disk->disk_name", "{0}->bi_disk->disk_name"),
            ("{0}->bi_iter.bi_sector",),
            ("{0}->bi_iter.bi_size",),
            ("{0}->bi_opf",),
        ),
        _bio,
    ),
    "page": Printer(
        (
            ("{0}->index", "{0}->__folio_index"),
            ("{0}->_refcount.counter",),
            ("{0}->mapping",),
        ),
        _page,
    ),
}
"""By the name of the struct (include/net/sock.h, linux/skbuff.h, fs.h, sched.h, blk_types.h,
mm_types.h, socket.h)."""
