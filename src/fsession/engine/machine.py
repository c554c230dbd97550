"""`Machine`: the host of BPF programs in user space. No privileges, no kernel feature."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import replace
from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Any, Self

from fsession.btf.model import MAX_SLOTS, func_model
from fsession.btf.types import TypeId
from fsession.engine.faults import faults
from fsession.engine.jit import native
from fsession.engine.link import MULTI, EngineLink, link_type
from fsession.engine.load_checks import check_load
from fsession.engine.memory import Block
from fsession.engine.native import architecture
from fsession.engine.objects import CObject, find_type
from fsession.engine.printk import PrintkQueue
from fsession.engine.program import EngineProgram
from fsession.engine.ringbuf import EngineRingReader
from fsession.engine.slow import slow_function
from fsession.engine.table import EngineMap
from fsession.engine.threads import CPU_COUNT
from fsession.engine.trampoline import Graveyard, Trampoline
from fsession.engine.world import World
from fsession.errors import (
    FsessionError,
    KernelError,
    NotFoundError,
)
from fsession.host import Feature, LinkInfo, Symbol
from fsession.uapi import AttachType, MapType

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from fsession.btf.catalog import Types
    from fsession.engine.functions import NativeFunction
    from fsession.engine.libraries import LibraryFunction
    from fsession.engine.shared import SharedLibrary
    from fsession.host import Fd, LoadRequest, Map, Program
    from fsession.spec import MapSpec

__all__ = ["Machine"]

_KERNEL = (7, 2)  # whose meaning the engine has
_WITHOUT = {
    Feature.MODULE_BTF: "the engine has no modules",
    Feature.COMMON_ATTR: "the engine writes no such log",
}


class Machine:
    """A world of its own: functions, maps, programs, links, printed lines.

    With `step`, programs that are loaded run in the interpreter and tell it each instruction.

    >>> with Machine() as machine:
    ...     icmp_rcv = machine.define("int icmp_rcv(struct sk_buff *skb)", lambda skb: 0)
    ...     with Object.open("session.bpf.o").load(machine) as obj, obj.attach():
    ...         icmp_rcv(machine.new("struct sk_buff", len=84))
    ...     print(machine.printed)
    """

    name = "engine"

    def __init__(
        self, btf: Types | None = None, *, verify: bool = True, test_functions: bool = True
    ) -> None:
        self._verifies = verify
        self.world = World(btf)
        self._trampolines: dict[object, Trampoline] = {}
        self._maps: dict[int, EngineMap] = {}
        self._programs: dict[int, EngineProgram] = {}
        self._links: dict[int, EngineLink] = {}
        self._slow: dict[str, Any] = {}
        self._queues: list[PrintkQueue] = []
        self._ids = count(1)
        self.lock = RLock()
        self.graveyard = Graveyard()
        self.printed: list[str] = []
        self.step: Callable[[str], None] | None = None
        self.failures: list[BaseException] = []
        if native() is not None:
            faults()
            if test_functions:
                self.world.define_test_functions()

    # Functions and objects for tests.

    def define(self, declaration: str, body: Callable[..., Any]) -> NativeFunction:
        """A function with this declaration whose body is `body`, called with ints.

        A bare name takes the declaration that the machine's BTF has.
        """
        with self.lock:
            return self.world.define(declaration, body, self._trampolines)

    def library(self, path: str, declaration: str) -> LibraryFunction:
        """A function of a shared library, to be traced where it is: `declaration` is its own."""
        with self.lock:
            return self.world.library(path, declaration)

    def add_library(
        self,
        library: SharedLibrary,
        prototypes: Mapping[str, TypeId],
        endless: Container[str] = (),
    ) -> int:
        """Functions of a library by names and prototypes in the machine's BTF; how many of them
        have a patchable entry. The others, and those that are `endless`, are refused by name."""
        with self.lock:
            return self.world.add_library(library, prototypes, endless)

    def refuse(self, name: str, why: FsessionError) -> None:
        """A function that nothing can be attached to, by its name."""
        self.world.refused[name] = why

    @property
    def libraries(self) -> Mapping[str, SharedLibrary]:
        """By their paths."""
        return self.world.libraries

    def new(self, c_type: str, **fields: Any) -> CObject:
        """A zeroed C object by its type's name, ``struct sk_buff``, with some fields set."""
        types = self.world.types
        id = find_type(types, c_type)
        return CObject(types, id, Block(types.size_of(id)), fields)

    def function(self, name: str) -> NativeFunction | LibraryFunction:
        """A function of the machine, to be called."""
        return self.world.function(name)

    def print(self, text: str) -> None:
        """What `bpf_printk` does."""
        self.printed += text.removesuffix("\n").split("\n")
        for queue in self._queues:
            queue.put(text)

    # The host.

    @property
    def description(self) -> str:
        return f"engine {os.uname().machine}"

    @property
    def cpu_count(self) -> int:
        return CPU_COUNT

    def types(self, module: str = "") -> Types:
        if module:
            raise NotFoundError("module", module)
        return self.world.types

    def program_types(self, program: Program) -> Types:
        found = self._programs[program.id].request.types
        if found is None:
            raise KernelError(f"BTF of program '{program.name}'", errno.ENOENT)
        return found

    def modules(self) -> Sequence[str]:
        return ()

    def btf_fd(self, module: str) -> Fd:
        raise NotFoundError("module", module)

    def symbol(self, name: str, module: str = "") -> int | None:
        found = self.world.functions.get(name)
        return found.address if found and not module else None

    def symbol_at(self, address: int) -> str | None:
        """Of the start of a function, what is inside one of a library, or of a trampoline."""
        inside = (
            f"fsession_image_{one.name}+{one.offset(address):#x}"
            for one in self._trampolines.values()
            if one.offset(address) is not None
        )
        return next(self.world.symbols_at(address), None) or next(inside, None)

    def kconfig(self) -> Mapping[str, str]:
        return {}

    def version_code(self) -> int:
        return _KERNEL[0] << 16 | _KERNEL[1] << 8

    def supports(self, feature: Feature) -> bool:
        return not self.why_not(feature)

    def why_not(self, feature: Feature) -> str:
        if native() is None:
            return "there is no machine code for this architecture (EOPNOTSUPP)"
        return _WITHOUT.get(feature, "")

    def create_map(
        self, spec: MapSpec, types: Types | None = None, inner: Map | None = None
    ) -> EngineMap:
        if spec.type is MapType.PERF_EVENT_ARRAY and not spec.max_entries:
            spec = replace(spec, max_entries=CPU_COUNT)
        with self.lock:
            made = EngineMap(spec, next(self._ids), self._forget_map, self._program_of)
            self._maps[made.id] = made
            return made

    def open_pinned_map(self, path: str) -> EngineMap | None:
        return None

    def open_program(self, place: str) -> EngineProgram:
        for program in self._programs.values():
            if place in (str(program.id), program.name):
                return program
        raise NotFoundError("loaded BPF program", place)

    def load(self, request: LoadRequest) -> EngineProgram:
        with self.lock:
            check_load(self, request)
            self._verify(request)
            index = next(_indexes)
            program = EngineProgram(self, request, next(self._ids), index)
            self._programs[program.id] = program
            return program

    def _verify(self, request: LoadRequest) -> None:
        if self._verifies:
            from fsession.engine.verified import verify_request  # here: it is large

            verify_request(self, request)

    def link(
        self,
        program: Program,
        attach_type: AttachType,
        *,
        cookie: int = 0,
        target_program: Program | None = None,
        target_btf_id: int = 0,
    ) -> EngineLink:
        with self.lock:
            found = self._loaded(program)
            what = f"attach '{program.name}'"
            if attach_type is not found.request.attach_type or attach_type in MULTI:
                raise KernelError(what, errno.EINVAL)
            if target_program is not None or target_btf_id:
                raise KernelError(what, errno.EINVAL)
            id = found.request.attach_btf_id
            trampoline = self._trampoline(id, found.request.attach_program)
            owner = found.request.attach_program
            return self._add_link(
                found, attach_type, [(trampoline, cookie)], cookie, owner.id if owner else 1, id
            )

    def link_multi(
        self,
        program: Program,
        attach_type: AttachType,
        btf_ids: Sequence[int],
        cookies: Sequence[int] | None = None,
    ) -> EngineLink:
        with self.lock:
            found = self._loaded(program)
            what = f"attach '{program.name}' to {len(btf_ids)} functions"
            wrong = attach_type is not found.request.attach_type or attach_type not in MULTI
            if wrong or not btf_ids or len(set(btf_ids)) != len(btf_ids):
                raise KernelError(what, errno.EINVAL)
            each = list(cookies or [0] * len(btf_ids))
            if len(each) != len(btf_ids):
                raise KernelError(what, errno.EINVAL)
            targets = [
                (self._trampoline(id, None), cookie)
                for id, cookie in zip(btf_ids, each, strict=True)
            ]
            return self._add_link(found, attach_type, targets)

    def _add_link(
        self,
        program: EngineProgram,
        attach_type: AttachType,
        targets: Sequence[tuple[Trampoline, int]],
        cookie: int = 0,
        object_id: int = 0,
        btf_id: int = 0,
    ) -> EngineLink:
        id = next(self._ids)
        info = LinkInfo(
            id, link_type(attach_type), program.id, attach_type, object_id, btf_id, cookie
        )
        link = EngineLink(program, attach_type, id, targets, info)
        self._links[id] = link
        return link

    def _trampoline(self, btf_id: int, owner: Program | None) -> Trampoline:
        """Of a function, or of a program's function: made once."""
        key: object = (owner.id, btf_id) if owner else self.world.types.name_of(TypeId(btf_id))
        if key not in self._trampolines:
            if owner is not None:
                self._trampolines[key] = self._program_trampoline(self._loaded(owner), btf_id)
            else:
                if key not in self.world.functions:
                    raise KernelError(f"attach to '{key}'", errno.ENOENT)
                function = self.world.functions[str(key)]
                self._trampolines[key] = function.trampoline(self.graveyard)
        return self._trampolines[key]

    def _program_trampoline(self, owner: EngineProgram, btf_id: int) -> Trampoline:
        types = self.program_types(owner)
        slots = [func.at for func in owner.request.funcs if func.type == btf_id]
        if not slots:
            raise KernelError(f"attach to '{owner.name}'", errno.EINVAL)
        name, model = types.name_of(TypeId(btf_id)), func_model(types, TypeId(btf_id))
        entry, nop = owner.entry_of(slots[0]), architecture().ENTRY_NOP
        return Trampoline(name, entry, nop, model, self.graveyard)

    def traceable(self, glob: str = "*", module: str = "") -> Sequence[str]:
        return self.world.traceable(glob)

    @property
    def argument_words(self) -> int:
        return MAX_SLOTS

    def function_symbols(self, glob: str = "*", module: str = "") -> Sequence[Symbol]:
        return self.world.symbols(glob)

    def program_ids(self) -> Sequence[int]:
        return sorted(self._programs)

    def program_functions(self, program: Program) -> Sequence[TypeId]:
        return [TypeId(func.type) for func in self._programs[program.id].request.funcs]

    def program_code(self, program: Program) -> Sequence[int]:
        return ()

    def printk_lines(self) -> PrintkQueue:
        queue = PrintkQueue(self._queues.remove)
        self._queues.append(queue)
        return queue

    def ring_buffer(self, map: Map, callback: Callable[[memoryview], None]) -> EngineRingReader:
        return EngineRingReader(self._maps[map.id], callback)

    # What programs ask while they are loaded and run.

    def map_of(self, fd: int) -> EngineMap:
        if fd not in self._maps:
            raise KernelError("load program", errno.EBADF)
        return self._maps[fd]

    def slow(self, name: str) -> int:
        """The address of a helper that is Python."""
        if name not in self._slow:
            self._slow[name] = slow_function(self, name)
        return ctypes.cast(self._slow[name], ctypes.c_void_p).value or 0

    def _loaded(self, program: Program) -> EngineProgram:
        found = self._programs.get(program.id)
        if found is None:
            raise KernelError(f"use of program '{program.name}'", errno.EBADF)
        return found

    def forget_program(self, program: EngineProgram) -> None:
        self._programs.pop(program.id, None)
        for key in [key for key in self._trampolines if isinstance(key, tuple)]:
            if key[0] == program.id:
                self._trampolines.pop(key).close()

    def forget_link(self, link: EngineLink) -> None:
        self._links.pop(link.id, None)

    def _program_of(self, number: int) -> EngineProgram:
        """For a prog array."""
        program = self._programs.get(number)
        if program is None:
            raise KernelError("update of a prog array", errno.EBADF)
        return program

    def _forget_map(self, map: EngineMap) -> None:
        """The memory lives as long as the code of programs that use it."""
        self._maps.pop(map.id, None)

    def close(self) -> None:
        """Detach everything. Memory goes when nobody can be inside."""
        with self.lock:
            for link in list(self._links.values()):
                link.close()
            for map in list(self._maps.values()):
                map.close()
            for program in list(self._programs.values()):
                program.close()
            self.graveyard.sweep()
            if len(self.graveyard):
                _unburied.append(self.graveyard)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_indexes = count()
_unburied: list[Graveyard] = []
"""Of closed machines: what threads may still be inside of, and what that holds."""
