"""`KernelHost`: the running kernel as a host of BPF programs."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fsession.btf.model import MAX_SLOTS
from fsession.btf.types import TypeId
from fsession.errors import AttachError, KernelError, NotFoundError
from fsession.host import Feature
from fsession.kernel import symbols
from fsession.kernel.addresses import Addresses
from fsession.kernel.btf import BtfStore
from fsession.kernel.btf_load import load_btf
from fsession.kernel.features import Prober
from fsession.kernel.link import KernelLink, link_multi, link_tracing
from fsession.kernel.map import KernelMap, create_map, pinned_map
from fsession.kernel.names import object_name
from fsession.kernel.program import (
    KernelProgram,
    load_program,
    pinned_program,
    program_by_id,
    program_ids,
)
from fsession.kernel.remembered import Remembered, runtime_folder
from fsession.kernel.ringbuf import KernelRingReader
from fsession.uapi import MapType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from fsession.btf.catalog import Types
    from fsession.host import Fd, LoadRequest, Map, Program, Symbol
    from fsession.kernel.trace_pipe import PrintkPipe
    from fsession.spec import MapSpec
    from fsession.uapi import AttachType

__all__ = ["KernelHost"]

_REGISTER_WORDS = {"x86_64": 6, "aarch64": 8}
_FEWEST_WORDS = 6
_TAG = re.compile(r"[0-9a-f]{16}")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class KernelHost:
    """bpf(2) of this machine. Needs CAP_BPF and CAP_PERFMON; asks for nothing when it is made."""

    name = "kernel"

    def __init__(self) -> None:
        remembered = Remembered(runtime_folder())
        self._btf = BtfStore(remembered)
        self._prober = Prober(self._btf)
        self._cpus = 0
        self._addresses: Addresses | None = None
        self._functions = symbols.FunctionSymbols(remembered)
        self._traceable = symbols.TraceableNames(remembered)
        self._kconfig: dict[str, str] | None = None

    @property
    def description(self) -> str:
        kernel = os.uname()
        return f"{kernel.sysname} {kernel.release} {kernel.machine}"

    @property
    def cpu_count(self) -> int:
        self._cpus = self._cpus or symbols.cpu_count()
        return self._cpus

    def types(self, module: str = "") -> Types:
        return self._btf.types(module)

    def program_types(self, program: Program) -> Types:
        """BTF of a loaded program, for tracing it."""
        return self._btf.program_types(program.info.btf_id)

    def modules(self) -> Sequence[str]:
        return self._btf.modules()

    def btf_fd(self, module: str) -> Fd:
        return self._btf.fd(module)

    @property
    def argument_words(self) -> int:
        if self.supports(Feature.STACK_ARGS):
            return MAX_SLOTS
        return _REGISTER_WORDS.get(os.uname().machine, _FEWEST_WORDS)

    def function_symbols(self, glob: str = "*", module: str = "") -> list[Symbol]:
        return self._functions.find(glob, module)

    def program_ids(self) -> Iterator[int]:
        return program_ids()

    def program_functions(self, program: Program) -> list[TypeId]:
        with program_by_id(program.id) as same:
            return [TypeId(number) for number in same.function_ids]

    def program_code(self, program: Program) -> Sequence[int]:
        with program_by_id(program.id) as same:
            return same.code

    def symbol(self, name: str, module: str = "") -> int | None:
        return symbols.symbol_address(name, module)

    def symbol_at(self, address: int) -> str | None:
        if self._addresses is None:
            self._addresses = Addresses()
        return self._addresses.name(address)

    def kconfig(self) -> Mapping[str, str]:
        if self._kconfig is None:
            self._kconfig = symbols.kconfig()
        return self._kconfig

    def version_code(self) -> int:
        return symbols.version_code()

    def supports(self, feature: Feature) -> bool:
        return not self._prober.why_not(feature)

    def why_not(self, feature: Feature) -> str:
        return self._prober.why_not(feature)

    def create_map(
        self, spec: MapSpec, types: Types | None = None, inner: Map | None = None
    ) -> KernelMap:
        """Create a map. `inner` is the template of a map of maps."""
        if spec.type == MapType.RINGBUF:
            spec = _ring_of_pages(spec)
        if spec.type == MapType.PERF_EVENT_ARRAY and not spec.max_entries:
            spec = replace(spec, max_entries=self.cpu_count)
        typed = types is not None and spec.value_type
        btf = load_btf(types.data, f"map '{spec.name}'") if typed and types else None
        template = inner if isinstance(inner, KernelMap) else None
        try:
            return create_map(spec, self.cpu_count, btf or 0, template)
        finally:
            if btf is not None:
                os.close(btf)

    def open_pinned_map(self, path: str) -> KernelMap | None:
        return pinned_map(path, self.cpu_count) if Path(path).exists() else None

    def open_program(self, place: str) -> KernelProgram:
        if place.startswith("/"):
            return pinned_program(place)
        if _TAG.fullmatch(place):
            return _only_program(place, "tag", lambda program: program.info.tag == place)
        if place.isdecimal():
            return program_by_id(int(place))
        name = object_name(place).decode()  # the kernel keeps the first 15 bytes
        return _only_program(place, "name", lambda program: program.name == name)

    def load(self, request: LoadRequest) -> KernelProgram:
        module = request.attach_module
        return load_program(request, self._btf.fd(module) if module else None)

    def link(
        self,
        program: Program,
        attach_type: AttachType,
        *,
        cookie: int = 0,
        target_program: Program | None = None,
        target_btf_id: int = 0,
    ) -> KernelLink:
        return link_tracing(
            program,
            attach_type,
            cookie=cookie,
            target_program=target_program,
            target_btf_id=target_btf_id,
        )

    def link_multi(
        self,
        program: Program,
        attach_type: AttachType,
        btf_ids: Sequence[int],
        cookies: Sequence[int] | None = None,
    ) -> KernelLink:
        return link_multi(program, attach_type, btf_ids, cookies)

    def traceable(self, glob: str = "*", module: str = "") -> list[str]:
        return self._traceable.find(glob, module)

    def printk_lines(self) -> PrintkPipe:
        from fsession.kernel.trace_pipe import PrintkPipe  # here: few need it

        return PrintkPipe()

    def ring_buffer(self, map: Map, callback: Callable[[memoryview], None]) -> KernelRingReader:
        return KernelRingReader(map, callback)

    def close(self) -> None:
        self._functions.keep()
        self._btf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _only_program(place: str, what: str, is_it: Callable[[KernelProgram], bool]) -> KernelProgram:
    """The only loaded program of a name or tag."""
    found: list[KernelProgram] = []
    for number in program_ids():
        try:
            program = program_by_id(number)
        except KernelError as error:
            if error.errno == errno.ENOENT:  # unloaded meanwhile
                continue
            raise
        if is_it(program):
            found.append(program)
        else:
            program.close()
    if len(found) == 1:
        return found[0]
    for program in found:
        program.close()
    if not found:
        raise NotFoundError("loaded BPF program", place).hint("bpftool prog lists them")
    ids = ", ".join(str(program.id) for program in found)
    raise AttachError(f"prog:{place}", f"{len(found)} programs have this {what}").hint(
        f"name one by its id: {ids}"
    )


def _ring_of_pages(spec: MapSpec) -> MapSpec:
    """A ring buffer's size must be a power of two of whole pages: rounded up."""
    size = max(spec.max_entries, _PAGE)
    return replace(spec, max_entries=1 << (size - 1).bit_length())
