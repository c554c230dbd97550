"""Values of kconfig externs: ``extern int CONFIG_HZ __kconfig``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Int
from fsession.errors import BadInputError, NotFoundError

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.host import Host
    from fsession.spec import Variable

__all__ = ["kconfig_value"]

_TRISTATE = {"y": 1, "m": 2, "n": 0}  # enum libbpf_tristate


def kconfig_value(host: Host, types: Types, variable: Variable, *, weak: bool) -> bytes:
    """The bytes of a variable: a number, y/n/m as number or ``char``, or text.

    Raises `NotFoundError` where the kernel has no such value and the extern is not `weak`.
    """
    number = _of_the_loader(host, variable.name)
    if number is not None:
        return _integer(variable, number)
    text = host.kconfig().get(variable.name)
    if text is None:
        if weak:
            return bytes(variable.size)
        raise NotFoundError("kernel configuration value", variable.name).hint(
            "the kernel was built without it, or its configuration can't be read; "
            "declare the extern __weak to take 0"
        )
    if text.startswith('"'):
        return text.strip('"').encode()[: variable.size - 1].ljust(variable.size, b"\0")
    if text in _TRISTATE:
        kind = types[types.strip(variable.type)]
        is_char = isinstance(kind, Int) and kind.size == 1 and not kind.is_bool
        return text.encode() if is_char else _integer(variable, _TRISTATE[text])
    return _integer(variable, int(text, 0))


def _of_the_loader(host: Host, name: str) -> int | None:
    """The externs that are no configuration: the loader knows them."""
    if name == "LINUX_KERNEL_VERSION":
        return host.version_code()
    if name == "LINUX_HAS_SYSCALL_WRAPPER":
        wrappers = ("__x64_sys_bpf", "__arm64_sys_bpf")
        return int(any(host.symbol(wrapper) is not None for wrapper in wrappers))
    return None


def _integer(variable: Variable, number: int) -> bytes:
    bits = variable.size * 8
    if not -(1 << bits - 1) <= number < 1 << bits:
        raise BadInputError(f"{variable.name} is {number}, which does not fit {bits} bits")
    return (number & (1 << bits) - 1).to_bytes(variable.size, "little")
