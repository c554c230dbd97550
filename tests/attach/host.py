"""A host for tests of attaching: functions by name, and a kernel that refuses some of them."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

from fsession.btf.encode import Builder
from fsession.btf.types import VOID, Func, FuncProto, Int, Param, Ptr, Struct
from fsession.errors import KernelError, NotFoundError, VerifierError
from fsession.host import Feature, ProgramInfo, Symbol
from fsession.isa.insn import alu, exit_
from fsession.isa.opcode import R0, Alu
from fsession.spec import ProgramSpec
from fsession.uapi import AttachType, MapType, ProgType

ALL = frozenset(Feature)
NO_MULTI = ALL - {Feature.FSESSION_MULTI}
TRACING_PROGRAM = 13
ONLY_FENTRY = NO_MULTI - {Feature.FSESSION}


class Open:
    """A thing with a fd that the host counts."""

    def __init__(self, host: FakeHost, kind: str) -> None:
        self.host, self.kind, self.is_open = host, kind, True
        self.id = self.fd = next(host.numbers)
        host.open[self.fd] = self

    def close(self) -> None:
        if self.is_open:
            self.host.closed.append(self)
        self.is_open = False
        self.host.open.pop(self.fd, None)

    def __enter__(self) -> Open:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FakeProgram(Open):
    def __init__(self, host: FakeHost, request: Any) -> None:
        super().__init__(host, "program")
        self.request, self.name = request, request.name
        self.misses = 0

    @property
    def info(self) -> ProgramInfo:
        assert self.is_open
        return ProgramInfo(self.id, self.name, ProgType.TRACING, "", 0, 0, self.misses, 0, 7)


class FakeMap(Open):
    """Keys and values in a dictionary; an array has all its keys from the start."""

    def __init__(self, host: FakeHost, spec: Any) -> None:
        super().__init__(host, "map")
        self.spec, self.name, self.type = spec, spec.name, spec.type
        self.key_size, self.value_size = spec.key_size, spec.value_size
        self.max_entries, self.frozen = spec.max_entries, False
        is_per_cpu = spec.type in (MapType.PERCPU_ARRAY, MapType.PERCPU_HASH)
        self.empty = bytes(
            (-(-spec.value_size // 8) * 8 * host.cpu_count, spec.value_size)[not is_per_cpu]
        )
        self.data: dict[bytes, bytes] = {}
        if spec.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
            keys = range(spec.max_entries)
            self.data = {key.to_bytes(4, "little"): self.empty for key in keys}

    def lookup(self, key: bytes, *, flags: int = 0) -> bytes | None:
        assert self.is_open
        return self.data.get(key)

    def update(self, key: bytes, value: bytes, *, flags: int = 0) -> None:
        assert self.is_open
        assert not self.frozen
        assert (len(key), len(value)) == (self.key_size, len(self.empty))
        self.data[key] = value

    def delete(self, key: bytes) -> bool:
        return self.data.pop(key, None) is not None

    def keys(self) -> Any:
        return iter(list(self.data))

    def items(self) -> Any:
        return iter(list(self.data.items()))

    def freeze(self) -> None:
        self.frozen = True


class FakeLink(Open):
    def __init__(self, host: FakeHost, program: Any, kind: Any, ids: Any, cookies: Any) -> None:
        super().__init__(host, "link")
        self.program, self.attach_type, self.ids, self.cookies = program, kind, ids, cookies


def spec(attach_type: AttachType = AttachType.TRACE_FSESSION) -> ProgramSpec:
    return ProgramSpec("p", ProgType.TRACING, (alu(Alu.MOV, R0, imm=0), exit_()), attach_type)


def kernel_types(names: list[str], base: Any = None) -> Any:
    """``int NAME(void *)`` for each; ``bad_…`` return a struct, ``wide_…`` take 13 arguments."""
    build = Builder(base)
    number, pointer = build.add(Int("int", 4, 32, 1)), build.add(Ptr(VOID))
    pair = build.add(Struct("pair", 8, ()))
    plain = build.add(FuncProto(number, (Param("p", pointer),)))
    struct = build.add(FuncProto(pair, ()))
    wide = build.add(FuncProto(number, (Param("p", pointer),) * 13))
    eight = build.add(FuncProto(number, (Param("p", pointer),) * 8))
    kinds = {"bad": struct, "wide": wide, "eight": eight}
    for name in names:
        build.add(Func(name, kinds.get(name.split("_")[0], plain)))
    return build.types("kernel")


@dataclass
class FakeHost:
    """`refused` answer EINVAL, `no_place` ENOENT, `full` E2BIG, and `unverified` fail at load."""

    names: list[str]
    features: frozenset[Feature] = ALL
    no_place: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    full: frozenset[str] = frozenset()
    unverified: frozenset[str] = frozenset()
    twice: tuple[str, ...] = ()
    module_names: list[str] = field(default_factory=list)
    cpu_count: int = 2
    argument_words: int = 12
    symbols: tuple[str, ...] = ()
    missing: frozenset[str] = frozenset()
    name = "kernel"

    def __post_init__(self) -> None:
        self.numbers = count(3)
        self.open: dict[int, Open] = {}
        self.closed: list[Open] = []
        self.link_calls = 0
        self.vmlinux = kernel_types(self.names)
        self.module = kernel_types(self.module_names, self.vmlinux) if self.module_names else None

    def types(self, module: str = "") -> Any:
        if module and (module != "mod" or not self.module):
            raise NotFoundError("module with BTF", module)
        return self.module if module else self.vmlinux

    def modules(self) -> list[str]:
        return ["mod"] if self.module else []

    def traceable(self, glob: str = "*", module: str = "") -> list[str]:
        own = [name for name in (*self.names, *self.twice) if name not in self.no_place]
        found = self.module_names if module else own
        return [name for name in found if fnmatchcase(name, glob)]

    def function_symbols(self, glob: str = "*", module: str = "") -> list[Symbol]:
        """`symbols` are there besides the functions, `missing` are not."""
        names = (*self.names, *self.twice, *self.symbols)
        own = [name for name in names if name not in self.missing]
        found = self.module_names if module else own
        return [Symbol(name) for name in found if fnmatchcase(name, glob)]

    def supports(self, feature: Feature) -> bool:
        return feature in self.features

    def why_not(self, feature: Feature) -> str:
        return "" if feature in self.features else "EINVAL"

    def open_program(self, place: str) -> Open:
        program = FakeProgram(self, spec())
        program.id, program.type = int(place), ProgType.XDP
        if program.id == TRACING_PROGRAM:
            program.type = ProgType.TRACING
        return program

    def program_ids(self) -> list[int]:
        return [12, TRACING_PROGRAM]

    def program_functions(self, program: Any) -> list[int]:
        return [id for _, id in self.program_types(program).functions()]

    def program_code(self, program: Any) -> list[int]:
        return [0xFFFF_FFFF_C000_0000 + 64 * at for at, _ in enumerate(self.program_functions(0))]

    def program_types(self, program: Any) -> Any:
        return kernel_types(["p", "part"])

    def create_map(self, spec: Any, types: Any = None, inner: Any = None) -> FakeMap:
        if spec.name == "refused":
            raise KernelError("create map", errno.EINVAL)
        return FakeMap(self, spec)

    def load(self, request: Any) -> FakeProgram:
        if request.attach_btf_id and self._name(request.attach_btf_id) in self.unverified:
            raise VerifierError(request.name, errno.EINVAL, "no")
        return FakeProgram(self, request)

    def link(self, program: Any, attach_type: Any, *, cookie: int = 0, **_: Any) -> FakeLink:
        self._check([program.request.attach_btf_id], program)
        return FakeLink(self, program, attach_type, [program.request.attach_btf_id], [cookie])

    def link_multi(self, program: Any, attach_type: Any, ids: Any, cookies: Any = None) -> FakeLink:
        """Looks at all ids one after the other first, and only then attaches."""
        self._check(ids, program)
        return FakeLink(self, program, attach_type, list(ids), cookies)

    def _check(self, ids: Any, program: Any) -> None:
        self.link_calls += 1
        names = [self._name(number) for number in ids]
        for name in names:
            if name in self.refused or not name:
                raise KernelError("link", errno.EINVAL)
            if name in self.no_place:
                raise KernelError("link", errno.ENOENT)
        for link in self.links:
            if link.program is program and set(link.ids) & set(ids):
                raise KernelError("link", errno.EBUSY)
        if any(name in self.full for name in names):
            raise KernelError("link", errno.E2BIG)

    def _name(self, number: int) -> str:
        return (self.module or self.vmlinux).name_of(number) if number else ""

    @property
    def links(self) -> list[FakeLink]:
        return [thing for thing in self.open.values() if isinstance(thing, FakeLink)]
