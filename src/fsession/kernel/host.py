"""`KernelHost`: the running kernel as a host of BPF programs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fsession.errors import AttachError, NotFoundError
from fsession.kernel import symbols
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
from fsession.kernel.ringbuf import KernelRingReader
from fsession.uapi import MapType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from fsession.btf.catalog import Types
    from fsession.host import Fd, Feature, LoadRequest, Map, Program
    from fsession.kernel.trace_pipe import PrintkPipe
    from fsession.spec import MapSpec
    from fsession.uapi import AttachType

__all__ = ["KernelHost"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


class KernelHost:
    """bpf(2) of this machine. Needs CAP_BPF and CAP_PERFMON; asks for nothing when it is made."""

    name = "kernel"

    def __init__(self) -> None:
        self._btf = BtfStore()
        self._prober = Prober(self._btf)
        self._cpus = 0
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

    def symbol(self, name: str, module: str = "") -> int | None:
        return symbols.symbol_address(name, module)

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
        if place.isdecimal():
            return program_by_id(int(place))
        return _program_by_name(place)

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

    def traceable(self, glob: str = "*") -> list[tuple[str, str]]:
        return symbols.traceable(glob)

    def printk_lines(self) -> PrintkPipe:
        from fsession.kernel.trace_pipe import PrintkPipe  # here: few need it

        return PrintkPipe()

    def ring_buffer(self, map: Map, callback: Callable[[memoryview], None]) -> KernelRingReader:
        return KernelRingReader(map, callback)

    def close(self) -> None:
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


def _program_by_name(name: str) -> KernelProgram:
    """The only loaded program of this name; the kernel keeps the first 15 bytes of it."""
    wanted = object_name(name).decode()
    found: list[KernelProgram] = []
    for number in program_ids():
        program = program_by_id(number)
        if program.name == wanted:
            found.append(program)
        else:
            program.close()
    if len(found) == 1:
        return found[0]
    for program in found:
        program.close()
    if not found:
        raise NotFoundError("loaded BPF program", name).hint("bpftool prog lists them")
    ids = ", ".join(str(program.id) for program in found)
    raise AttachError(f"prog:{name}", f"{len(found)} programs have this name").hint(
        f"name one by its id: {ids}"
    )


def _ring_of_pages(spec: MapSpec) -> MapSpec:
    """A ring buffer's size must be a power of two of whole pages: rounded up."""
    size = max(spec.max_entries, _PAGE)
    return replace(spec, max_entries=1 << (size - 1).bit_length())
