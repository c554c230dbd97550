"""Words that BTF tells to be of the network: addresses, ports, socket addresses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fsession.btf.types import Array, Int, Struct, Typedef, TypeId
from fsession.trace.values import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.btf.catalog import Types
    from fsession.trace.values import Value

__all__ = ["ip4", "ip6", "network_reader", "socket_address"]

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
_MAC_BYTES = 6
_ADDRESS_NAME = re.compile(r".*(?:addr|gateway|gw|mask|ip|nexthop)\d?$|(?:src|dst|from|to)$")


def network_reader(types: Types, type_id: TypeId, name: str) -> Callable[[int], Value] | None:
    """For a value of this type and name; None for what is not of the network.

    ``__be32`` is an address if its name says so, else a number, as are sequence numbers.
    """
    alias = _alias(types, type_id)
    if alias == "__be16":
        return lambda word: _swapped(word, 2)
    if alias == "__be32":
        return (
            (lambda word: ip4(_bytes(word, 4)))
            if _ADDRESS_NAME.match(name)
            else lambda word: _swapped(word, 4)
        )
    kind = types[types.strip(type_id)]
    if isinstance(kind, Struct) and kind.name in _STRUCTS:
        convert, size = _STRUCTS[kind.name], kind.size
        return lambda word: convert((word & (1 << 8 * size) - 1).to_bytes(size, "little"))
    if isinstance(kind, Array) and kind.nelems == _MAC_BYTES and _is_byte(types, kind.type):
        return lambda word: Address(_bytes(word, _MAC_BYTES).hex(":"))
    return None


def _alias(types: Types, type_id: TypeId) -> str:
    """The first typedef's name."""
    while type_id and types.kind_of(type_id).__name__ in ("Const", "Volatile", "TypeTag"):
        type_id = types.ref(type_id)
    return types.name_of(type_id) if type_id and types.kind_of(type_id) is Typedef else ""


def _is_byte(types: Types, type_id: TypeId) -> bool:
    kind = types[types.strip(type_id)]
    return isinstance(kind, Int) and kind.name == "unsigned char"


def _bytes(word: int, size: int) -> bytes:
    return (word & (1 << 8 * size) - 1).to_bytes(size, "little")


def _swapped(word: int, size: int) -> int:
    return int.from_bytes(_bytes(word, size), "big")


def _ip4(word: int) -> Address:
    return ip4(_bytes(word, 4))


def ip4(data: bytes) -> Address:
    """Four bytes of an address."""
    return Address(".".join(map(str, data)))


def ip6(data: bytes) -> Address:
    """Sixteen bytes of an address."""
    from ipaddress import IPv6Address  # a hundredth of the start, and few calls show one

    return Address(str(IPv6Address(data)))


def socket_address(data: bytes) -> Value:
    """``struct sockaddr`` and its kin: the family, then what it says."""
    family = int.from_bytes(data[:2], "little")
    port = int.from_bytes(data[2:4], "big")
    if family == AF_INET:
        return Address(f"{ip4(data[4:8])}:{port}")
    if family == AF_INET6 and len(data) >= 24:
        return Address(f"[{ip6(data[8:24])}]:{port}")
    if family == AF_UNIX:
        path = data[2:].lstrip(b"\0").split(b"\0", 1)[0]
        return Address("unix:" + path.decode("utf-8", "backslashreplace"))
    return Address(f"family {family}")


_STRUCTS: dict[str, Callable[[bytes], Value]] = {
    "in_addr": ip4,
    "in6_addr": ip6,
    "sockaddr": socket_address,
    "sockaddr_in": socket_address,
    "sockaddr_in6": socket_address,
    "sockaddr_un": socket_address,
    "__kernelsocket_address_storage": socket_address,
}
