"""What a host of BPF programs can do: the waist of the package. Protocols, no code.

There are two: `fsession.kernel.KernelHost` (bpf(2)) and the engine in user space. They offer the
same operations and fail with the same errnos: `KernelError`, and for a refused program
`VerifierError`.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, NewType, Protocol

from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.isa.insn import Insn, InsnOff
    from fsession.spec import FuncInfo, LineInfo, MapSpec
    from fsession.uapi import AttachType, LinkType, MapType, ProgType

__all__ = [
    "Closeable",
    "Fd",
    "Feature",
    "Host",
    "Link",
    "LinkInfo",
    "LoadRequest",
    "Map",
    "PrintkReader",
    "Program",
    "ProgramInfo",
    "RingReader",
    "Symbol",
    "TestResult",
]

Fd = NewType("Fd", int)


class Feature(Enum):
    """What may or may not be there, each found by trying. The value is what a user reads."""

    FENTRY = "fentry and fexit programs"
    FSESSION = "fsession programs, one link a function"
    FSESSION_MULTI = "fsession programs, one link for many functions"
    SESSION_KFUNCS = "session kfuncs that take the context"
    SLEEPABLE = "sleepable tracing programs"
    FUNC_ARGS = "bpf_get_func_arg, bpf_get_func_ret"
    ATTACH_COOKIE = "attach cookies of tracing links"
    ATOMICS = "atomic fetch and compare-and-exchange"
    RINGBUF = "BPF ring buffer"
    TASK_STORAGE = "task local storage"
    BPF_LOOP = "bpf_loop"
    KFUNC_CALLS = "calls of kernel functions"
    MODULE_BTF = "BTF of kernel modules"
    PROGRAM_TARGETS = "BPF programs as targets of tracing"
    PER_CPU_FLAGS = "one CPU's value of a per-CPU map (BPF_F_CPU, BPF_F_ALL_CPUS)"
    STACK_ARGS = "arguments beyond those in registers"
    COMMON_ATTR = "a log for every command (struct bpf_common_attr)"


class Symbol(NamedTuple):
    """A name in the kernel or a module; `is_code`: there is a function at it."""

    name: str
    is_code: bool = True


class Closeable(Protocol):
    """A thing of the host that is held open; closing twice is fine."""

    def close(self) -> None: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@frozen
class LoadRequest:
    """A program whose relocations are resolved: what ``BPF_PROG_LOAD`` takes.

    `insns` hold map fds and BTF ids of the host. `fd_array` are the BTF fds that kfunc calls of
    modules index by `Insn.off` (index 0 is unused). `attach_btf_id` is the target function in
    the BTF of `attach_module` ("" is vmlinux), or in that of the program `attach_program`.
    `poison` are places that must not be reached, and why: what the kernel lacks for them.
    """

    name: str
    type: ProgType
    insns: tuple[Insn, ...]
    attach_type: AttachType | None = None
    attach_btf_id: int = 0
    attach_module: str = ""
    attach_program: Program | None = None
    license: str = "GPL"
    version: int = 0
    sleepable: bool = False
    fd_array: tuple[Fd, ...] = ()
    types: Types | None = field(default=None, compare=False, repr=False)
    funcs: tuple[FuncInfo, ...] = ()
    lines: tuple[LineInfo, ...] = ()
    poison: tuple[tuple[InsnOff, str], ...] = ()


@frozen
class TestResult:
    """Of ``BPF_PROG_TEST_RUN``: the program's return value, output and time for one run."""

    __test__ = False  # not a pytest class

    retval: int
    duration_ns: int
    data_out: bytes = b""
    ctx_out: bytes = b""


@frozen
class ProgramInfo:
    """Of ``struct bpf_prog_info`` and the program's fdinfo."""

    id: int
    name: str
    type: ProgType
    tag: str
    run_cnt: int
    run_time_ns: int
    recursion_misses: int
    verified_insns: int
    btf_id: int
    map_ids: tuple[int, ...] = ()
    func_names: tuple[str, ...] = ()


@frozen
class LinkInfo:
    """Of ``struct bpf_link_info``: `target_btf_id` and `cookie` where the kernel tells them."""

    id: int
    type: LinkType
    program_id: int
    attach_type: AttachType | None = None
    target_obj_id: int = 0
    target_btf_id: int = 0
    cookie: int = 0


class Map(Closeable, Protocol):
    """A map of raw bytes; a typed view lies above."""

    @property
    def name(self) -> str: ...
    @property
    def id(self) -> int: ...
    @property
    def fd(self) -> Fd: ...
    @property
    def type(self) -> MapType: ...
    @property
    def key_size(self) -> int: ...
    @property
    def value_size(self) -> int: ...
    @property
    def max_entries(self) -> int: ...
    def __enter__(self) -> Map: ...
    def lookup(self, key: bytes, *, flags: int = 0) -> bytes | None: ...
    def update(self, key: bytes, value: bytes, *, flags: int = 0) -> None: ...
    def delete(self, key: bytes) -> bool: ...
    def keys(self) -> Iterator[bytes]: ...
    def items(self) -> Iterator[tuple[bytes, bytes]]: ...
    def freeze(self) -> None: ...
    def pin(self, path: str) -> None: ...


class Program(Closeable, Protocol):
    """A loaded program."""

    @property
    def name(self) -> str: ...
    @property
    def id(self) -> int: ...
    @property
    def fd(self) -> Fd: ...
    @property
    def type(self) -> ProgType: ...
    @property
    def info(self) -> ProgramInfo: ...
    def __enter__(self) -> Program: ...
    def test_run(self, *, data: bytes = b"", ctx: bytes = b"", repeat: int = 1) -> TestResult: ...
    def pin(self, path: str) -> None: ...


class Link(Closeable, Protocol):
    """A program attached; closing the last reference detaches."""

    @property
    def id(self) -> int: ...
    @property
    def info(self) -> LinkInfo: ...
    def __enter__(self) -> Link: ...
    def detach(self) -> None: ...
    def pin(self, path: str) -> None: ...


class Host(Closeable, Protocol):
    """Where programs run."""

    @property
    def name(self) -> str:
        """``kernel`` or ``engine``."""

    @property
    def description(self) -> str:
        """For the last line of output: ``Linux 7.2.13 x86_64``."""

    @property
    def cpu_count(self) -> int:
        """Possible CPUs: how many values a per-CPU map has for a key."""

    def __enter__(self) -> Host: ...

    def types(self, module: str = "") -> Types:
        """BTF of vmlinux ("") or of a module, split on it. Raises `NotFoundError`."""

    def program_types(self, program: Program) -> Types:
        """BTF of a loaded program, for tracing it."""

    def modules(self) -> Sequence[str]:
        """Names of the loaded modules that have BTF, sorted."""

    def btf_fd(self, module: str) -> Fd:
        """An open BTF object of a module, for the fd array of a program that calls its kfuncs."""

    @property
    def argument_words(self) -> int:
        """How many words of arguments its trampolines take: at most 12."""

    def function_symbols(self, glob: str = "*", module: str = "") -> Iterable[Symbol]:
        """Symbols of vmlinux ("") or a module, like those of functions, whose names match, each
        time one is there."""

    def program_ids(self) -> Iterable[int]:
        """Ids of the loaded BPF programs, the oldest first."""

    def program_functions(self, program: Program) -> Sequence[TypeId]:
        """The functions of a loaded program, main first, as ids in its own BTF."""

    def program_code(self, program: Program) -> Sequence[int]:
        """Where the machine code of these functions is; empty without the privilege to know."""

    def symbol(self, name: str, module: str = "") -> int | None:
        """Address of a kernel symbol (kallsyms); None if there is no such symbol."""

    def symbol_at(self, address: int) -> str | None:
        """The symbol that an address is in: ``icmp_rcv+0x12``, ``nf_ct_get [nf_conntrack]``."""

    def kconfig(self) -> Mapping[str, str]:
        """The kernel's configuration as text values: ``{"CONFIG_HZ": "250", …}``; may be empty."""

    def version_code(self) -> int:
        """``LINUX_KERNEL_VERSION``: major << 16 | minor << 8 | patch (at most 255)."""

    def supports(self, feature: Feature) -> bool:
        """True if a trial of `feature` worked; conclusive answers are kept."""

    def why_not(self, feature: Feature) -> str:
        """What the trial of `feature` failed with, in the kernel's words; "" if it worked."""

    def create_map(
        self, spec: MapSpec, types: Types | None = None, inner: Map | None = None
    ) -> Map:
        """Create a map; `types` is the BTF that `spec.key_type` and `value_type` belong to,
        `inner` the template of a map of maps."""

    def open_pinned_map(self, path: str) -> Map | None:
        """The map pinned at `path`; None if there is none."""

    def open_program(self, place: str) -> Program:
        """A loaded program by id, by name, by tag, or by where it is pinned."""

    def load(self, request: LoadRequest) -> Program:
        """Load a program. Raises `VerifierError` with the log when it is refused."""

    def link(
        self,
        program: Program,
        attach_type: AttachType,
        *,
        cookie: int = 0,
        target_program: Program | None = None,
        target_btf_id: int = 0,
    ) -> Link:
        """Attach a tracing program to the target it was loaded for."""

    def link_multi(
        self,
        program: Program,
        attach_type: AttachType,
        btf_ids: Sequence[int],
        cookies: Sequence[int] | None = None,
    ) -> Link:
        """Attach a multi program to all functions of `btf_ids`, or to none of them."""

    def traceable(self, glob: str = "*", module: str = "") -> Iterable[str]:
        """Functions of vmlinux ("") or a module that tracing can be attached to, each time one is
        there. Only those whose names match `glob` (`fsession.btf.glob`)."""

    def printk_lines(self) -> PrintkReader:
        """Open the stream of `bpf_printk` lines."""

    def ring_buffer(self, map: Map, callback: Callable[[memoryview], None]) -> RingReader:
        """A consumer of a ring buffer map."""


class PrintkReader(Closeable, Protocol):
    """Lines that programs print; see trace_pipe."""

    def __enter__(self) -> PrintkReader: ...
    def fileno(self) -> int: ...
    def read(self, timeout_s: float | None = None) -> list[str]:
        """Lines that have come, waiting at most `timeout_s` for the first; [] if none came."""


class RingReader(Closeable, Protocol):
    """Records of a ring buffer in the order of their reservation."""

    def __enter__(self) -> RingReader: ...
    def fileno(self) -> int: ...
    def poll(self, timeout_s: float | None = None, most: int | None = None) -> int:
        """Give each record that is there, or `most` of them, to the callback; how many. Waits at
        most `timeout_s` for the first."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until records are there; False if the time ran out."""

    def read_batch(self, most: int | None = None) -> bytes:
        """All that is there, or `most` records, as they lie in the ring, each behind its header of
        8 bytes."""

    @property
    def batched(self) -> int:
        """How many records `read_batch` has given out, without those that were discarded."""
