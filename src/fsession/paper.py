"""`PaperHost`: a host that only judges. Programs are resolved, verified and never run.

It has a kernel's types and the rules of its series, so that whatever is loaded into a kernel can be
loaded into it: objects, both halves of a split session, programs for many functions. What it
refuses raises `VerifierError`, as the kernel does; `reports` has the verdict on every load.
"""

from __future__ import annotations

import errno
from itertools import count
from typing import TYPE_CHECKING, Self

from fsession.errors import NotFoundError, UnsupportedError, VerifierError
from fsession.host import Fd, Feature, ProgramInfo, Symbol
from fsession.verify import NEWEST, Subject, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.host import Link, LoadRequest, Map, PrintkReader, Program, RingReader, TestResult
    from fsession.spec import MapSpec
    from fsession.uapi import AttachType, MapType, ProgType
    from fsession.verify import Report

__all__ = ["PaperHost", "subject_of"]

_SINCE = {
    Feature.FSESSION: (7, 0),
    Feature.SESSION_KFUNCS: (7, 0),
    Feature.FSESSION_MULTI: (7, 2),
    Feature.PER_CPU_FLAGS: (6, 19),
    Feature.COMMON_ATTR: (7, 0),
}
_FIRST_FD = 100
_CPUS = 4


class _Thing:
    """Open until it is closed; has a number of its own."""

    def __init__(self, number: int, name: str) -> None:
        self.fd, self.id, self.name = Fd(number), number, name

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def pin(self, path: str) -> None:
        raise _not_here("pinning")


class PaperMap(_Thing):
    """A map's specification; it holds nothing."""

    def __init__(self, number: int, spec: MapSpec) -> None:
        super().__init__(number, spec.name)
        self.spec = spec

    @property
    def type(self) -> MapType:
        return self.spec.type

    @property
    def key_size(self) -> int:
        return self.spec.key_size

    @property
    def value_size(self) -> int:
        return self.spec.value_size

    @property
    def max_entries(self) -> int:
        return self.spec.max_entries

    def lookup(self, key: bytes, *, flags: int = 0) -> bytes | None:
        return None

    def update(self, key: bytes, value: bytes, *, flags: int = 0) -> None:
        """What a map holds is of no account to the verifier, but for frozen ones: their specs."""

    def delete(self, key: bytes) -> bool:
        return False

    def keys(self) -> Iterator[bytes]:
        return iter(())

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(())

    def freeze(self) -> None:
        """Its spec says so."""


class PaperProgram(_Thing):
    """A program that was accepted."""

    def __init__(self, number: int, request: LoadRequest, report: Report) -> None:
        super().__init__(number, request.name)
        self.type: ProgType = request.type
        self._insns = report.insns

    @property
    def info(self) -> ProgramInfo:
        return ProgramInfo(self.id, self.name, self.type, "", 0, 0, 0, self._insns, 0)

    def test_run(self, *, data: bytes = b"", ctx: bytes = b"", repeat: int = 1) -> TestResult:
        raise _not_here("running programs")


class PaperHost:
    """Types of a kernel, and the rules of `series`. `modules` are BTF objects by module."""

    name = "paper"
    cpu_count = _CPUS
    argument_words = 12

    def __init__(
        self,
        types: Types,
        series: str = NEWEST,
        modules: Mapping[str, Types] | None = None,
        *,
        log_level: int = 0,
    ) -> None:
        self.description = f"the rules of Linux {series}"
        self.series, self.log_level = series, log_level
        self.reports: list[Report] = []
        self.requests: list[LoadRequest] = []
        self._types, self._modules = types, dict(modules or {})
        self._numbers = count(_FIRST_FD)
        self._maps: dict[int, MapSpec] = {}
        self._btf: dict[int, str] = {}

    def types(self, module: str = "") -> Types:
        if module and module not in self._modules:
            raise NotFoundError("kernel module with BTF", module)
        return self._modules[module] if module else self._types

    def program_types(self, program: Program) -> Types:
        raise _not_here("BPF programs as targets")

    def modules(self) -> Sequence[str]:
        return sorted(self._modules)

    def btf_fd(self, module: str) -> Fd:
        number = next(self._numbers)
        self._btf[number] = module
        return Fd(number)

    def symbol(self, name: str, module: str = "") -> int | None:
        return 0xFFFF_FFFF_8100_0000  # some address: none is looked at

    def symbol_at(self, address: int) -> str | None:
        return None

    def kconfig(self) -> Mapping[str, str]:
        return {}

    def version_code(self) -> int:
        major, minor = map(int, self.series.split("."))
        return major << 16 | minor << 8

    def supports(self, feature: Feature) -> bool:
        return not self.why_not(feature)

    def why_not(self, feature: Feature) -> str:
        since = _SINCE.get(feature, (0, 0))
        if tuple(map(int, self.series.split("."))) >= since:
            return ""
        return f"Linux {self.series} is before {since[0]}.{since[1]}"

    def create_map(
        self, spec: MapSpec, types: Types | None = None, inner: Map | None = None
    ) -> PaperMap:
        number = next(self._numbers)
        self._maps[number] = spec
        return PaperMap(number, spec)

    def open_pinned_map(self, path: str) -> Map | None:
        return None

    def open_program(self, place: str) -> Program:
        raise _not_here("BPF programs as targets")

    def load(self, request: LoadRequest) -> PaperProgram:
        """Judge a program. Raises `VerifierError` where it is refused."""
        report = verify(self.subject(request), self.series, log_level=self.log_level)
        self.reports.append(report)
        self.requests.append(request)
        if not report.accepted:
            error = VerifierError(request.name, errno.EACCES, report.log, report.message)
            if report.advice:
                error.add_note(report.advice)
            raise error
        return PaperProgram(next(self._numbers), request, report)

    def subject(self, request: LoadRequest) -> Subject:
        return subject_of(request, self._maps, self.types, lambda fd: self._btf[fd])

    def link(
        self,
        program: Program,
        attach_type: AttachType,
        *,
        cookie: int = 0,
        target_program: Program | None = None,
        target_btf_id: int = 0,
    ) -> Link:
        raise _not_here("attaching")

    def link_multi(
        self,
        program: Program,
        attach_type: AttachType,
        btf_ids: Sequence[int],
        cookies: Sequence[int] | None = None,
    ) -> Link:
        raise _not_here("attaching")

    def traceable(self, glob: str = "*", module: str = "") -> Iterator[str]:
        """Every function that has a type: which of them can be traced only a kernel knows."""
        return (name for name, _ in self._types.functions(glob))

    def function_symbols(self, glob: str = "*", module: str = "") -> Iterator[Symbol]:
        """One for each function that has a type."""
        return (Symbol(name) for name, _ in self._types.functions(glob))

    def program_ids(self) -> Iterator[int]:
        return iter(())

    def program_functions(self, program: Program) -> Sequence[TypeId]:
        raise _not_here("BPF programs as targets")

    def program_code(self, program: Program) -> Sequence[int]:
        raise _not_here("BPF programs as targets")

    def printk_lines(self) -> PrintkReader:
        raise _not_here("printing")

    def ring_buffer(self, map: Map, callback: Callable[[memoryview], None]) -> RingReader:
        raise _not_here("reading a ring buffer")

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def subject_of(
    request: LoadRequest,
    maps: Mapping[int, MapSpec],
    types: Callable[[str], Types],
    module_of: Callable[[int], str],
) -> Subject:
    """What `request` would give a kernel to verify. `maps` are by their file descriptors."""
    fds = enumerate(request.fd_array)
    return Subject(
        name=request.name,
        type=request.type,
        insns=request.insns,
        attach_type=request.attach_type,
        maps=maps,
        types=types(""),
        modules={index: types(module_of(fd)) for index, fd in fds if index},
        target=request.attach_btf_id or None,  # type: ignore[arg-type]
        target_types=types(request.attach_module) if request.attach_btf_id else None,
        license=request.license,
        sleepable=request.sleepable,
        own_types=request.types,
        funcs=request.funcs,
        lines=request.lines,
        poison=dict(request.poison),
    )


def _not_here(what: str) -> UnsupportedError:
    return UnsupportedError(f"{what} where programs are only judged")
