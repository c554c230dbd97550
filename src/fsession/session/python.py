"""`PythonObject`: programs that are Python functions, from their file to their events.

    with PythonObject.open("slow.py") as obj:
        obj.load()
        with obj.attach():
            for event in obj:
                print(event)

They are compiled when they are loaded, against the types of the kernel that will run them.
"""

from __future__ import annotations

import runpy
import sys
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Self

from fsession.attach import find_targets
from fsession.btf.values import decode_value
from fsession.errors import BadInputError, CompileError, FsessionError
from fsession.lang import Compiled, EventDecoder, Program, RingBuf, compile_programs
from fsession.session.object import Object

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from fsession.attach import Attachment
    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.callees import KernelMemory
    from fsession.host import Host, RingReader

__all__ = ["PythonObject"]

EVENTS_MAP = "events"


class PythonObject:
    """A context manager; `object` is what was loaded, an `Object` as any other."""

    def __init__(self, programs: Sequence[Program], name: str = "program") -> None:
        if not programs:
            raise BadInputError(f"{name} has no programs").hint(
                'decorate a function: @fsession.program("icmp_rcv")'
            )
        self.programs = tuple(programs)
        self.name = name
        self.compiled: Compiled | None = None
        self._object: Object | None = None
        self._stack = ExitStack()
        self._ring: RingReader | None = None
        self._events: list[Any] = []

    @classmethod
    def open(cls, path: str | Path) -> PythonObject:
        """Run the file at `path` as a module and take the programs that it makes."""
        place = Path(path)
        if not place.is_file():
            raise BadInputError(f"there is no file '{place}'")
        before = list(sys.path)
        sys.path.insert(0, str(place.resolve().parent))
        try:
            made = runpy.run_path(str(place), run_name=place.stem)
        except FsessionError:
            raise
        except SyntaxError as error:
            where = (error.filename or str(place), error.lineno or 0, error.offset or 0)
            raise CompileError(error.msg, *where) from None
        except Exception as error:
            line = extract_tb(error.__traceback__)[-1].lineno or 0
            words = f"{type(error).__name__}: {error}"
            raise CompileError(words, str(place), line).hint(
                "the file is run as a module, to find the programs in it"
            ) from error
        finally:
            sys.path[:] = before
        programs = [item for item in made.values() if isinstance(item, Program)]
        return cls(list(dict.fromkeys(programs)), place.stem)

    def compile(self, host: Host) -> Compiled:
        """Raises `CompileError` with the place in the source."""

        def program_function(label: str) -> tuple[Types, TypeId]:
            (target,) = find_targets(host, [label]).targets
            assert target.program is not None
            target.program.close()
            return target.types, target.btf_id

        return compile_programs(self.programs, host.types, self.name, program_function)

    def load(self, host: Host | None = None) -> Self:
        """Compile, create the maps, load the programs. Without a host: on this machine's kernel."""
        with ExitStack() as stack:
            if host is None:
                from fsession.kernel import KernelHost

                host = stack.enter_context(KernelHost())
            self.compiled = self.compile(host)
            self._object = stack.enter_context(Object(self.compiled.spec))
            self._object.load(host)
            self.compiled.connect(self._object.maps, self._object.globals)
            if self.compiled.events:
                symbols = _Symbols(host, stack)
                decode = EventDecoder(self.compiled.events, symbols.names).decode
                ring = self._object.raw_maps[EVENTS_MAP]
                self._ring = stack.enter_context(
                    host.ring_buffer(ring, lambda record: self._events.append(decode(record)))
                )
            for name, type_id in self.compiled.records.items():
                item = self.compiled.maps[name]
                assert isinstance(item, RingBuf)
                item.reader = stack.enter_context(self._records(host, name, item, type_id))
            self._stack = stack.pop_all()
        return self

    def _records(self, host: Host, name: str, item: RingBuf, type_id: TypeId) -> RingReader:
        """The reader of a `RingBuf` of the programs."""
        assert self.compiled is not None
        types = self.compiled.spec.types

        def keep(record: memoryview) -> None:
            raw = bytes(record)
            if types is not None and type_id:
                item.records.append(decode_value(types, type_id, raw))
            else:
                item.records.append(raw)

        return host.ring_buffer(self.object.raw_maps[name], keep)

    @property
    def object(self) -> Object:
        if self._object is None:
            raise FsessionError(f"'{self.name}' is not loaded").hint("call load() first")
        return self._object

    def attach(self, strategy: str = "auto") -> Attachment:
        """Attach all programs to their targets. Closing the result detaches them."""
        return self.object.attach(strategy)

    def fileno(self) -> int:
        """Readable when there may be events to `read`. -1: the programs send none."""
        return -1 if self._ring is None else self._ring.fileno()

    def read(self, timeout_s: float | None = None) -> list[Any]:
        """Events that have come, waiting at most `timeout_s` for the first; [] if none."""
        if self._ring is None:
            return []
        self._ring.poll(timeout_s)
        events, self._events = self._events, []
        return events

    def __iter__(self) -> Iterator[Any]:
        """Events for ever."""
        if self._ring is None:
            raise FsessionError(f"'{self.name}' sends no events").hint("fsession.emit() does")
        while True:
            yield from self.read()

    def close(self) -> None:
        self._stack.close()
        if self.compiled is not None:
            self.compiled.disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Symbols:
    """Names of the kernel's addresses, each asked for once; `stack` closes what asks."""

    def __init__(self, host: Host, stack: ExitStack) -> None:
        self._host = host
        self._known: dict[int, str] = {}
        self._memory: KernelMemory | None = None
        stack.callback(self._close)

    def names(self, addresses: Sequence[int]) -> list[str]:
        """``icmp_rcv+0x1a``; the number, where the kernel has no name for it, or can't be asked."""
        new = [word for word in addresses if word not in self._known]
        if new:
            self._known |= dict(zip(new, self._ask(new), strict=True))
        return [self._known[word] for word in addresses]

    def _ask(self, addresses: list[int]) -> list[str]:
        from fsession.callees import KernelMemory

        try:
            self._memory = self._memory or KernelMemory(self._host)
            found = self._memory.symbols(addresses)
        except FsessionError:  # before 5.14, or without the privilege
            found = []
        return [
            f"{symbol.label}+{symbol.offset:#x}" if symbol else f"{word:#x}"
            for word, symbol in zip_longest(addresses, found)
        ]

    def _close(self) -> None:
        if self._memory is not None:
            self._memory.close()
