"""What the tracer saw: a finished call, its arguments decoded when they are asked for."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.trace.fields import Field, Form, field_reader
from fsession.trace.values import (
    LOST,
    Named,
    Pointer,
    Stack,
    Unreadable,
    Value,
    reader,
    result_reader,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.trace.record import Layout
    from fsession.trace.signature import Signature

__all__ = ["TREE_COUNTS", "Call", "Function", "Place", "Summary", "name_user_frames"]


_WORD_BYTES = 8


@frozen
class Function:
    """A traced function and how its words become values; made once, shared by its calls.

    `layout` is that of its records: its own, or that of a program for many functions. `fields` are
    the values of expressions in them, each read by one of `readers` at one of `places`. `simple`
    has name, slot and reader of each parameter, if each is a word and none a text: the usual case.
    """

    signature: Signature
    layout: Layout
    arguments: tuple[Callable[[int], Value], ...]
    result: Callable[[int], Value]
    fields: tuple[Field, ...] = ()
    readers: tuple[Callable[[bytes | memoryview, int], Value], ...] = ()
    places: tuple[int, ...] = ()
    simple: tuple[tuple[str, int, Callable[[int], Value]], ...] | None = None

    @property
    def has_symbols(self) -> bool:
        """Whether its fields may be addresses that have names: stacks, pointers in structs."""
        forms = (Form.KSTACK, Form.USTACK, Form.SYMBOL)
        return any(
            one.form in forms or (one.form is Form.TYPED and one.size > _WORD_BYTES)
            for one in self.fields
        )

    @classmethod
    def of(
        cls,
        signature: Signature,
        layout: Layout | None = None,
        symbol: Callable[[int], str | None] = lambda _: None,
        fields: tuple[Field, ...] = (),
    ) -> Function:
        """`symbol` gives the name of an address of the kernel: ``icmp_rcv+0x12``."""
        types = signature.types
        arguments = tuple(
            reader(types, param.type, symbol, param.name) for param in signature.params
        )
        result = result_reader(types, signature.result, symbol)
        layout = layout or signature.layout
        readers = tuple(field_reader(field, types, symbol) for field in fields)
        places = _places(layout, fields)
        simple = _simple(signature, arguments)
        return cls(signature, layout, arguments, result, fields, readers, places, simple)


def _simple(
    signature: Signature, arguments: Sequence[Callable[[int], Value]]
) -> tuple[tuple[str, int, Callable[[int], Value]], ...] | None:
    params = signature.params
    if any(param.slots != 1 or param.string for param in params):
        return None
    return tuple((p.name, p.slot, read) for p, read in zip(params, arguments, strict=True))


def _places(layout: Layout, fields: Sequence[Field]) -> tuple[int, ...]:
    """Offsets of the fields in a record."""
    at = {True: layout.exit_at, False: layout.entry_at}
    places = []
    for one in fields:
        places.append(at[one.at_exit])
        at[one.at_exit] += one.room
    return tuple(places)


@frozen
class Place:
    """Where a call stands in the graph that its root made.

    `tree` is the root's id, unique in a trace. `order` numbers the tree's calls by their entries,
    the root is 0; `parent` is the order of the call that made this one, -1 for the root. `depth`
    is 0 for the root. `begun` is how many calls of the tree had begun when this one ended: of the
    root, all of them.
    """

    tree: int
    order: int
    parent: int
    depth: int
    begun: int = 0


@frozen
class Call:
    """A call from its entry to its exit.

    `start_ns` is the kernel's monotonic clock, `wall_ns` the same moment since the epoch. `pid` is
    the process, `tid` the thread, `comm` its name, `cpu` where the call ended. `words` are the
    argument words and `strings` the texts of string arguments, as they were at the entry. `prints`
    are the values of expressions, by their texts. `place` is that of a call in a graph.
    """

    traced: Function = field(repr=False)
    start_ns: int
    duration_ns: int
    wall_ns: int
    pid: int
    tid: int
    comm: str
    cpu: int
    words: tuple[int, ...]
    result_word: int
    strings: tuple[str | Unreadable, ...] = ()
    place: Place | None = None
    prints: dict[str, Value] = field(default_factory=dict)

    @property
    def function(self) -> str:
        return self.traced.signature.function

    @property
    def module(self) -> str:
        """The function's kernel module, "" for the kernel itself."""
        return self.traced.signature.module

    @property
    def label(self) -> str:
        """``function`` or ``module:function``."""
        return self.traced.signature.label

    @property
    def args(self) -> dict[str, Value]:
        """Values by the names of the parameters, in their order."""
        out: dict[str, Value] = {}
        words, simple = self.words, self.traced.simple
        if simple is not None:
            for name, slot, read in simple:
                out[name] = read(words[slot])
            return out
        texts = iter(self.strings)
        for param, read in zip(self.traced.signature.params, self.traced.arguments, strict=True):
            word = words[param.slot] if param.slots else 0
            if param.slots == 2:
                word |= words[param.slot + 1] << 64
            out[param.name] = _string(word, next(texts, LOST)) if param.string else read(word)
        return out

    @property
    def ret(self) -> Value:
        """What the function returned; None if it returns nothing."""
        return self.traced.result(self.result_word)

    @property
    def is_void(self) -> bool:
        return not self.traced.signature.result


def _string(pointer: int, value: str | Unreadable) -> Value:
    return value if pointer else None


def name_user_frames(call: Call, name: Callable[[int], str | None]) -> None:
    """In the stacks of its process that a call has: frames for which there is a name get it."""
    for one in call.traced.fields:
        frames = call.prints.get(one.text) if one.form is Form.USTACK else None
        if isinstance(frames, Stack):
            addresses = [at for at in frames if isinstance(at, int)]
            call.prints[one.text] = Stack(
                Named(at, found) if (found := name(at)) else Pointer(at) for at in addresses
            )


TREE_COUNTS = ("begun", "ended", "lost_entries", "too_deep", "abandoned", "unpaired")
"""The names in `Summary.trees`."""


@frozen
class Summary:
    """Of a trace that has ended.

    `calls` finished and passed the filters, `lost` of them have no record since the buffer was
    full. `missed` are runs of a program that did not happen: the same program was running on that
    CPU. `faulted` are values that could not be read, in filters and in what is shown, `unsaved`
    calls whose values of the entry found no room. `skipped` counts by reason the functions that
    were asked for but not attached. `trees` are the counts of a graph: see docs/graph.md.
    """

    calls: int
    lost: int
    missed: int
    functions: int
    strategy: str
    programs: int
    links: int
    host: str
    skipped: dict[str, int] = field(default_factory=dict)
    faulted: int = 0
    unsaved: int = 0
    trees: dict[str, int] = field(default_factory=dict)
