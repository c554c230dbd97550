"""Values of kconfig externs: ``extern int CONFIG_HZ __kconfig``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fsession.btf.types import Array, Int
from fsession.errors import BadInputError, NotFoundError

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.btf.types import Type
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
    kind = types[types.strip(variable.type)]
    if text.startswith('"') or isinstance(kind, Array):
        return _text(variable, kind, text)
    if text in _TRISTATE:
        return _switch(variable, kind, text)
    return _integer(variable, int(text, 0))


def _text(variable: Variable, kind: Type, text: str) -> bytes:
    """A quoted value into an array of ``char``, cut so that its NUL has room."""
    if not (text.startswith('"') and isinstance(kind, Array)):
        raise BadInputError(f"{variable.name} is {text}, which a variable of its type can't hold")
    plain = re.sub(r"\\(.)", r"\1", text[1:-1])
    return plain.encode()[: variable.size - 1].ljust(variable.size, b"\0")


def _switch(variable: Variable, kind: Type, text: str) -> bytes:
    """y, n or m, as a letter or a number."""
    if isinstance(kind, Int) and kind.size == 1 and not kind.is_bool:
        return text.encode()
    if text == "m" and isinstance(kind, Int) and kind.is_bool:
        raise BadInputError(f"{variable.name} is m, which a bool can't hold").hint(
            "declare it as enum libbpf_tristate"
        )
    return _integer(variable, _TRISTATE[text])


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
