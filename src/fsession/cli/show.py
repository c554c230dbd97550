"""``fsession show``: functions and types as the running kernel's BTF has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fsession.cli.report import OK
from fsession.errors import BadInputError, NotFoundError

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.btf.types import Type, TypeId
    from fsession.host import Host

__all__ = ["show"]

_KEYWORDS = ("struct", "union", "enum")


@click.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--module", default="", help="Look in the BTF of this module, too.")
@click.option(
    "--vmlinux-h", is_flag=True, help="Write all types as a header for BPF programs in C."
)
def show(names: tuple[str, ...], module: str, vmlinux_h: bool) -> int:
    """Show what NAME is in the kernel: the prototype of a function, the layout of a type with
    offsets and sizes in bytes, the values of an enum.

    NAME is icmp_rcv, sk_buff, struct sk_buff, or module:NAME. All kinds of that name are shown.
    """
    if bool(names) == vmlinux_h:
        raise click.UsageError("give names, or --vmlinux-h")
    from fsession.kernel import KernelHost

    with KernelHost() as host:
        if vmlinux_h:
            _header(host.types(module))
        for name in _joined(names):
            _show(host, name, module)
    return OK


def _joined(words: tuple[str, ...]) -> list[str]:
    """``struct sk_buff`` may be one word or two."""
    names: list[str] = []
    for word in words:
        if names and names[-1] in _KEYWORDS:
            names[-1] += f" {word}"
        else:
            names.append(word)
    return names


def _header(types: Types) -> None:
    from fsession.btf.vmlinux_h import vmlinux_h

    for text in vmlinux_h(types):
        click.echo(text)


def _show(host: Host, name: str, module: str) -> None:
    place, _, rest = name.rpartition(":")
    types = host.types(place or module)
    keyword, _, plain = rest.rpartition(" ")
    if keyword and keyword not in _KEYWORDS:
        raise BadInputError(f"'{keyword}' is no kind of type").hint("struct, union or enum")
    found = types.find_all(plain, *_kinds(keyword))
    if not found:
        types.id_of(plain, *_kinds(keyword) if keyword else ())  # raises, with names like it
        raise NotFoundError("type or function", rest)
    for type_id in found:
        click.echo(_text(types, type_id))


def _kinds(keyword: str) -> tuple[type[Type], ...]:
    from fsession.btf.types import Enum, Enum64, Func, Int, Struct, Typedef, Union, Var

    by_keyword: dict[str, tuple[type[Type], ...]] = {
        "struct": (Struct,),
        "union": (Union,),
        "enum": (Enum, Enum64),
        "": (Func, Struct, Union, Enum, Enum64, Typedef, Int, Var),
    }
    return by_keyword[keyword]


def _text(types: Types, type_id: TypeId) -> str:
    from fsession.btf.format import definition, prototype, spell
    from fsession.btf.types import Func, Int, Var

    kind = types[type_id]
    if isinstance(kind, Func):
        return f"{prototype(types, type_id)};"
    if isinstance(kind, Var):
        return f"{spell(types, kind.type, kind.name)};"
    if isinstance(kind, Int):
        sign = "signed" if kind.is_signed else "unsigned"
        return f"{kind.name}: {kind.size} bytes, {sign}"
    return definition(types, type_id, offsets=True)
