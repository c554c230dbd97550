"""Programs, maps and objects as plain data, equal on every machine.

A front end (an ELF file, a compiler) makes specs; nothing in them names a file descriptor, an
address or a type id of the running kernel. `fsession.resolve` turns a program's relocations
into instructions for one host at the time of loading.

Places in a program are `InsnOff`: slots of 8 bytes from the start of the whole program (its main
function first, the subprograms it reaches behind it), as the kernel counts.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from fsession.btf.types import VOID, TypeId
from fsession.frozen import frozen

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.isa.insn import Insn, InsnOff
    from fsession.uapi import AttachType, CoreReloKind, MapType, ProgType

__all__ = [
    "CoreRelo",
    "FuncInfo",
    "KfuncCall",
    "KsymRef",
    "LineInfo",
    "MapRef",
    "MapSpec",
    "MapValueRef",
    "ObjectSpec",
    "ProgramSpec",
    "Reloc",
    "Variable",
]


@frozen
class MapRef:
    """The ``lddw`` at `at` loads the map named `map`."""

    at: InsnOff
    map: str


@frozen
class MapValueRef:
    """The ``lddw`` at `at` loads the address of byte `offset` of the value of array `map`."""

    at: InsnOff
    map: str
    offset: int


@frozen
class KfuncCall:
    """The call at `at` is one of the kernel function `name`.

    `type` is the extern's `Func` in the object's own BTF, VOID where there is none (programs made
    by us). A `weak` one that the kernel lacks becomes an instruction that is never reached.
    """

    at: InsnOff
    name: str
    weak: bool = False
    type: TypeId = VOID


@frozen
class KsymRef:
    """The ``lddw`` at `at` loads the address of the kernel symbol `name`.

    `type` is the extern's type in the object's BTF: with one, the load becomes a typed BTF id
    load; VOID (``extern const void name __ksym``) an address from kallsyms. Weak and absent: 0.
    """

    at: InsnOff
    name: str
    weak: bool = False
    type: TypeId = VOID


@frozen
class CoreRelo:
    """``struct bpf_core_relo``: the instruction at `at` depends on the layout of a type.

    `type` is the root in the object's BTF, `access` the accessor string (``0:1:2``).
    """

    at: InsnOff
    kind: CoreReloKind
    type: TypeId
    access: str


Reloc = MapRef | MapValueRef | KfuncCall | KsymRef | CoreRelo


@frozen
class FuncInfo:
    """``struct bpf_func_info``: the function that starts at `at` has this `Func` type."""

    at: InsnOff
    type: TypeId


@frozen
class LineInfo:
    """``struct bpf_line_info``: from `at` on, the source is `line` (from 1) of `file`."""

    at: InsnOff
    file: str
    text: str
    line: int
    column: int


@frozen
class Variable:
    """A global variable: its place in the value of the map it lives in, and its type."""

    name: str
    map: str
    offset: int
    size: int
    type: TypeId


@frozen
class MapSpec:
    """A map as it is to be created. Sizes are bytes.

    `flags` are `fsession.uapi.MapFlag`, `extra` is ``map_extra``. `key_type` and `value_type` are
    types of the object's BTF, VOID where it has none. `data` is the initial value of a global-data
    map (its value_size bytes); `entries` initial ``(key, value)`` pairs, where for a map of maps
    or a prog array `value` is a name. `inner` is the template of a
    map of maps. `frozen` maps can't be changed from user space after loading (``.rodata``).
    """

    name: str
    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    key_type: TypeId = VOID
    value_type: TypeId = VOID
    extra: int = 0
    numa_node: int = 0
    inner: MapSpec | None = None
    pinned_by_name: bool = False
    data: bytes | None = None
    entries: tuple[tuple[bytes, bytes | str], ...] = ()
    frozen: bool = False


@frozen
class ProgramSpec:
    """A program before it meets a kernel.

    `target` is what the section name says behind the slash: a function, ``module:function``, a
    pattern for multi, "" if it is given at attach. `attach_type` None: none for this type.
    `types` is the object's BTF, against which all `TypeId` of the relocations are meant.
    """

    name: str
    type: ProgType
    insns: tuple[Insn, ...]
    attach_type: AttachType | None = None
    target: str = ""
    section: str = ""
    license: str = "GPL"
    version: int = 0
    sleepable: bool = False
    autoload: bool = True
    relocs: tuple[Reloc, ...] = ()
    funcs: tuple[FuncInfo, ...] = ()
    lines: tuple[LineInfo, ...] = ()
    types: Types | None = field(default=None, compare=False, repr=False)


@frozen
class ObjectSpec:
    """All of one object file. Names are the C names; order is the file's.

    `kconfig` are the externs in the map ``.kconfig``, whose value the loader makes from the
    kernel's configuration; `weak_kconfig` names those of them that may be missing, and are then 0.
    """

    name: str
    programs: tuple[ProgramSpec, ...]
    maps: tuple[MapSpec, ...] = ()
    variables: tuple[Variable, ...] = ()
    kconfig: tuple[Variable, ...] = ()
    weak_kconfig: frozenset[str] = frozenset()
    types: Types | None = field(default=None, compare=False, repr=False)
