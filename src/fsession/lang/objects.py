"""What a program in Python shares with its surroundings: maps, variables, structs.

They are made beside the program and used on both sides by the same name: inside, the compiler knows
them; outside, once the program is loaded, they are views of the kernel's maps.
"""

from __future__ import annotations

from struct import iter_unpack
from typing import TYPE_CHECKING, Any, ClassVar

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.lang.ctypes import Array as CArray
from fsession.lang.ctypes import Catalog, CType, Record
from fsession.uapi import MapType

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_RING_BYTES = 4096
MAX_DEPTH = 127  # include/uapi/linux/perf_event.h: PERF_MAX_STACK_DEPTH

__all__ = [
    "MAX_DEPTH",
    "Array",
    "Function",
    "Global",
    "Hash",
    "LruHash",
    "Map",
    "PerCpuArray",
    "PerCpuHash",
    "RingBuf",
    "StackTrace",
    "Struct",
    "StructField",
    "TaskStorage",
    "member_type",
    "struct_record",
]


@frozen
class StructField:
    name: str
    type: CType
    offset: int


class Struct:
    """A struct for keys and values: its annotations are members, laid out as C does.

    >>> class Peer(fsession.Struct):
    ...     address: "u32"
    ...     port: "u16"
    ...     name: "char[16]"

    A member can be a struct itself: its annotation is the other class.
    """


def struct_record(cls: type[Struct], catalog: Catalog) -> Record:
    """The struct as a type, laid out as C does."""
    return _record(cls, catalog, ())[0]


def _record(
    cls: type[Struct], catalog: Catalog, around: tuple[type[Struct], ...]
) -> tuple[Record, int]:
    """The struct and its alignment in bytes; `around` are those that it is a member of."""
    if cls in around:
        raise BadInputError(f"struct {cls.__name__} is a member of itself")
    fields: list[StructField] = []
    end, align = 0, 1
    for name, words in cls.__annotations__.items():
        inner = _struct_named(words, cls)
        type: CType
        if inner is not None:
            type, unit = _record(inner, catalog, (*around, cls))
        else:
            type = member_type(str(words), catalog, f"{cls.__name__}.{name}")
            unit = type.of.size if isinstance(type, CArray) else type.size
        end += -end % unit
        fields.append(StructField(name, type, end))
        end += type.size
        align = max(align, unit)
    if not fields:
        raise BadInputError(f"struct {cls.__name__} has no members").hint(
            'members are annotations: port: "u16"'
        )
    return catalog.local(cls.__name__, fields, end + -end % align), align


def _struct_named(words: Any, owner: type[Struct]) -> type[Struct] | None:
    """A member's type, where it is such a struct: the class, or its name in the same module."""
    if isinstance(words, type) and issubclass(words, Struct):
        return words
    name = str(words).strip("'\" ")
    made = (cls for cls in Struct.__subclasses__() if cls.__name__ == name)
    return next((cls for cls in made if cls.__module__ == owner.__module__), None)


def member_type(words: str, catalog: Catalog, what: str) -> CType:
    """``u32``, ``enum tcp_state``, ``char[16]``."""
    words = words.strip("'\" ")
    name, bracket, count = words.partition("[")
    found = catalog.find(name)
    if found is None or found.size not in (1, 2, 4, 8):
        error = BadInputError(f"{what}: '{words}' is no type of a number")
        raise error.hint("u8 to u64, s8 to s64, bool, enum NAME, a pointer, or char[N]")
    if not bracket:
        return found
    number = count.rstrip("] ")
    if not number.isdecimal() or not int(number):
        raise BadInputError(f"{what}: '{words}' has no length")
    return CArray(found, int(number))


class Map:
    """A map of the program. Before it is loaded it is only described; then it is a mapping."""

    type: ClassVar[MapType]
    is_array: ClassVar[bool] = False
    is_per_cpu: ClassVar[bool] = False
    has_btf: ClassVar[bool] = True
    flags: ClassVar[int] = 0
    use: ClassVar[str] = ""
    """How programs use a map without keys."""

    def __init__(self, key: Any, value: Any, max_entries: int = 10240) -> None:
        if not 0 < max_entries < 1 << 32:
            raise BadInputError(f"a map with {max_entries} entries")
        self.key, self.value, self.max_entries = key, value, max_entries
        self.view: Any = None
        self.name = ""

    def _loaded(self) -> Any:
        if self.view is None:
            error = BadInputError("this map is not loaded")
            raise error.hint("load the program that uses it first")
        return self.view

    def __getitem__(self, key: Any) -> Any:
        return self._loaded()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._loaded()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._loaded()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._loaded()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())

    def get(self, key: Any, default: Any = None) -> Any:
        return self._loaded().get(key, default)

    def items(self) -> Any:
        return self._loaded().items()

    def keys(self) -> Any:
        return self._loaded().keys()

    def values(self) -> Any:
        return self._loaded().values()

    def clear(self) -> None:
        self._loaded().clear()


class Hash(Map):
    """``BPF_MAP_TYPE_HASH``."""

    type = MapType.HASH


class LruHash(Map):
    """``BPF_MAP_TYPE_LRU_HASH``: a new entry takes the place of one not used for long."""

    type = MapType.LRU_HASH


class PerCpuHash(Map):
    """``BPF_MAP_TYPE_PERCPU_HASH``: outside, a value is a list, one item for each CPU."""

    type = MapType.PERCPU_HASH
    is_per_cpu = True


class Array(Map):
    """``BPF_MAP_TYPE_ARRAY``: keys are 0 to `max_entries` - 1, and all are there."""

    type = MapType.ARRAY
    is_array = True

    def __init__(self, value: Any, max_entries: int = 64) -> None:
        super().__init__("u32", value, max_entries)


class PerCpuArray(Array):
    """``BPF_MAP_TYPE_PERCPU_ARRAY``."""

    type = MapType.PERCPU_ARRAY
    is_per_cpu = True


class TaskStorage(Map):
    """``BPF_MAP_TYPE_TASK_STORAGE`` (Linux 5.11): a value for each thread, which goes with it.

    Its keys inside programs are tasks, ``storage[fsession.get_current_task()]``; a value is there
    when it is first written. Outside, keys are descriptors of processes (pidfds).
    """

    type = MapType.TASK_STORAGE
    flags = 1  # BPF_F_NO_PREALLOC

    def __init__(self, value: Any) -> None:
        super().__init__("s32", value, 1)
        self.max_entries = 0


class StackTrace(Map):
    """``BPF_MAP_TYPE_STACK_TRACE``: `get_stackid` keeps stacks in it, by ids that it makes.

    Outside, `stack` gives the addresses of one, the innermost first.
    """

    type = MapType.STACK_TRACE
    has_btf = False
    use = "fsession.get_stackid(ctx, stacks)"

    def __init__(self, max_entries: int = 1024, depth: int = 127) -> None:
        if not 0 < depth <= MAX_DEPTH:
            raise BadInputError(f"stacks of {depth} addresses").hint(f"from 1 to {MAX_DEPTH}")
        super().__init__("u32", f"u64[{depth}]", max_entries)

    def stack(self, number: int) -> list[int]:
        """Raises `KeyError` for an id that is not there, negative ones (errors) too."""
        raw = self._loaded().raw.lookup(number.to_bytes(4, "little")) if number >= 0 else None
        if raw is None:
            raise KeyError(number)
        return [word for (word,) in iter_unpack("<Q", raw) if word]


class RingBuf(Map):
    """``BPF_MAP_TYPE_RINGBUF``: records from programs to Python, in order, across all CPUs.

    >>> class Open(fsession.Struct):
    ...     pid: "u32"
    ...     name: "char[64]"
    >>> opened = fsession.RingBuf(Open)

    Inside: ``opened.output((pid, name))``, or ``record = opened.reserve()``, which is None where
    there is no room, and then ``opened.submit(record)`` or ``opened.discard(record)``. Outside:
    `read` and iteration give the records, as values of maps; without a type they are `bytes`.
    """

    type = MapType.RINGBUF
    has_btf = False
    use = "output(value), or reserve() and submit(record)"

    def __init__(self, value: Any = None, size: int = 1 << 18) -> None:
        if size < MIN_RING_BYTES or size & (size - 1):
            raise BadInputError(f"a ring buffer of {size} bytes").hint("a power of 2, from 4096")
        super().__init__(None, value, size)
        self.reader: Any = None
        self.records: list[Any] = []

    def read(self, timeout_s: float | None = None) -> list[Any]:
        """Records that have come, waiting at most `timeout_s` for the first; [] if none."""
        self._loaded()
        self.reader.poll(timeout_s)
        records, self.records = self.records, []
        return records

    def fileno(self) -> int:
        """Readable when there may be records."""
        self._loaded()
        return int(self.reader.fileno())

    def __iter__(self) -> Iterator[Any]:
        """Records for ever."""
        while True:
            yield from self.read()


class Global:
    """A variable that both sides read and write: inside by its name, outside as ``.value``."""

    def __init__(self, type: str = "u64", initial: int = 0) -> None:
        self.type, self.initial = type, initial
        self.view: Any = None
        self.name = ""

    @property
    def value(self) -> Any:
        return self.initial if self.view is None else self.view[self.name]

    @value.setter
    def value(self, value: int) -> None:
        if self.view is None:
            self.initial = value
        else:
            self.view[self.name] = value


class Function:
    """A function that programs call: a subprogram, with integers as arguments and result."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.name: str = function.__name__

    def __call__(self, *args: Any) -> Any:
        """Outside of programs it is the Python function."""
        return self.function(*args)
