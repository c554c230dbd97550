"""An object file of programs that were compiled here: what clang would have written.

Each program is in the section of its name, its subprograms in ``.text``; calls of them, maps,
variables and kernel functions are relocations; maps, variables and externs are described by BTF as
`bpf_helpers.h` does it. libbpf, bpftool and `read_object` take it. Field offsets are those of the
kernel that it was compiled for: there are no CO-RE relocations in it.
"""

from __future__ import annotations

import struct
from dataclasses import field, replace
from typing import TYPE_CHECKING

from fsession.btf.encode import Builder
from fsession.btf.types import (
    VOID,
    Array,
    DataSec,
    Enum,
    Func,
    FuncProto,
    Int,
    Member,
    Param,
    Ptr,
    SecVar,
    Struct,
    TypeId,
    Union,
    Var,
)
from fsession.errors import BadInputError
from fsession.frozen import slotted
from fsession.isa.insn import Insn, call_local, encode, lddw, offsets
from fsession.obj.elf import INSN32, INSN64
from fsession.obj.elf_write import ElfWriter
from fsession.spec import KfuncCall, MapRef, MapValueRef

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.spec import LineInfo, MapSpec, ObjectSpec, ProgramSpec

__all__ = ["write_object"]

_SLOT_BYTES = 8
_POINTER_BYTES = 8
_EXTERN = 2
_SESSION_KFUNCS = ("bpf_session_is_return", "bpf_session_cookie")
_MAX_COLUMN = (1 << 10) - 1
_EXT_HEADER = struct.Struct("<HBBIIIIIII")
_MAGIC = 0xEB9F
TEXT = ".text"


@slotted
class _Code:
    """A section under construction; functions and lines by their place in bytes."""

    name: str
    insns: list[Insn] = field(default_factory=list)
    size: int = 0
    funcs: list[tuple[int, TypeId]] = field(default_factory=list)
    lines: list[tuple[int, int, int, int]] = field(default_factory=list)
    relocs: list[tuple[int, str, int]] = field(default_factory=list)
    refs: list[tuple[int, str]] = field(default_factory=list)  # by index, to functions


def write_object(spec: ObjectSpec, kernel: Types) -> bytes:
    """The bytes of an ELF file. `kernel` has the prototypes of the kernel functions called."""
    if spec.types is None:
        raise BadInputError(f"'{spec.name}' has no types to write")
    return _Writer(spec, kernel).run()


class _Writer:
    def __init__(self, spec: ObjectSpec, kernel: Types) -> None:
        assert spec.types is not None
        self.spec, self.kernel = spec, kernel
        self.elf = ElfWriter()
        self.btf = Builder()
        for id in spec.types.own_ids():
            self.btf.add(spec.types[id])
        self.own: Types = spec.types
        self.codes: dict[str, _Code] = {}
        self.functions: dict[str, tuple[str, int, int]] = {}
        self.externs: dict[str, TypeId] = {}
        self._ints: dict[tuple[str, int], TypeId] = {}

    def run(self) -> bytes:
        for program in self.spec.programs:
            self._program(program)
        for code in self.codes.values():
            for index, name in code.refs:  # libbpf takes these by the section and a place in it
                code.insns[index] = lddw(code.insns[index].dst, self.functions[name][1])
            self.elf.section(code.name, encode(code.insns), code=True)
        for name, (section, at, size) in self.functions.items():
            self.elf.function(name, section, at, size, is_local=section == TEXT)
        self._maps()
        self._data()
        self._externs()
        self.elf.section("license", b"GPL\0", writable=True)
        for code in self.codes.values():
            for at, symbol, kind in code.relocs:
                self.elf.relocation(code.name, at, symbol, kind)
        ext = self._ext()
        self.elf.section(".BTF", self.btf.to_bytes(), loaded=False)
        self.elf.section(".BTF.ext", ext, loaded=False)
        return self.elf.to_bytes()

    # -- programs --------------------------------------------------------------------------------

    def _program(self, program: ProgramSpec) -> None:
        """Its functions: the first to its section, the others to ``.text``."""
        starts = [int(info.at) for info in program.funcs]
        ends = [*starts[1:], int(offsets(program.insns)[-1])]
        names = [self._function_name(program, at) for at in range(len(starts))]
        places = dict(zip(starts, names, strict=True))
        pairs = list(zip(offsets(program.insns), program.insns, strict=False))
        relocs = {int(reloc.at): reloc for reloc in program.relocs}
        for at, (start, end) in enumerate(zip(starts, ends, strict=True)):
            code = self.codes.setdefault(
                TEXT if at else program.section, _Code(TEXT if at else program.section)
            )
            base = code.size
            self.functions[names[at]] = (code.name, base, (end - start) * _SLOT_BYTES)
            code.funcs.append((base, program.funcs[at].type))
            for line in program.lines:
                if start <= line.at < end:
                    at_byte = base + (int(line.at) - start) * _SLOT_BYTES
                    code.lines.append(self._line(at_byte, line))
            for slot, insn in pairs:
                if start <= slot < end:
                    self._insn(code, insn, int(slot), relocs.get(int(slot)), places)

    def _function_name(self, program: ProgramSpec, at: int) -> str:
        if not at:
            return program.name
        name = self.own.name_of(program.funcs[at].type)
        return name if name not in self.functions else f"{program.name}.{name}"

    def _insn(
        self, code: _Code, insn: Insn, slot: int, reloc: object, places: dict[int, str]
    ) -> None:
        at = code.size
        match reloc:
            case MapRef(map=name):
                insn = lddw(insn.dst, 0)
                code.relocs.append((at, name, INSN64))
            case MapValueRef(map=name, offset=offset):
                insn = lddw(insn.dst, offset)
                code.relocs.append((at, name, INSN64))
            case KfuncCall(name=name):
                self.externs.setdefault(name, VOID)
                insn = call_local(-1)
                code.relocs.append((at, name, INSN32))
            case _ if insn.is_local_call:
                code.relocs.append((at, places[slot + 1 + insn.func_off], INSN32))
                insn = replace(insn, imm=-1)
            case _ if insn.is_func_ref:
                code.relocs.append((at, TEXT, INSN64))
                code.refs.append((len(code.insns), places[slot + 1 + insn.func_off]))
        code.insns.append(insn)
        code.size += insn.slots * _SLOT_BYTES

    def _line(self, at: int, line: LineInfo) -> tuple[int, int, int, int]:
        """``struct bpf_line_info``; a column of 10 bits."""
        place = line.line << 10 | min(line.column, _MAX_COLUMN)
        return at, self.btf.string(line.file), self.btf.string(line.text), place

    # -- maps, variables, externs ----------------------------------------------------------------

    def _maps(self) -> None:
        variables: list[SecVar] = []
        at = 0
        for spec in self.spec.maps:
            if spec.data is not None:
                continue
            type, size = self._map_type(spec)
            variable = self.btf.add(Var(spec.name, type, 1))
            variables.append(SecVar(variable, at, size))
            self.elf.object(spec.name, ".maps", at, size)
            at += size
        if variables:
            self.btf.add(DataSec(".maps", at, tuple(variables)))
            self.elf.section(".maps", bytes(at), writable=True)

    def _map_type(self, spec: MapSpec) -> tuple[TypeId, int]:
        numbers = {"type": int(spec.type), "max_entries": spec.max_entries, "map_flags": spec.flags}
        rows = [(name, self._number(value)) for name, value in numbers.items() if value]
        for name, type, size in (
            ("key", spec.key_type, spec.key_size),
            ("value", spec.value_type, spec.value_size),
        ):
            if type:
                rows.append((name, self.btf.add(Ptr(type))))
            elif size:
                rows.append((f"{name}_size", self._number(size)))
        members = tuple(
            Member(name, type, 8 * _POINTER_BYTES * place)
            for place, (name, type) in enumerate(rows)
        )
        size = _POINTER_BYTES * len(members)
        return self.btf.add(Struct("", size, members)), size

    def _number(self, value: int) -> TypeId:
        """``int (*name)[value]``."""
        number = self._int("int", 4)
        return self.btf.add(Ptr(self.btf.add(Array(number, number, value))))

    def _int(self, name: str, size: int, encoding: int = 1) -> TypeId:
        key = (name, size)
        if key not in self._ints:
            self._ints[key] = self.btf.add(Int(name, size, 8 * size, encoding))
        return self._ints[key]

    def _data(self) -> None:
        """Sections of variables; their symbol is the section's."""
        for spec in self.spec.maps:
            if spec.data is None:
                continue
            own = [item for item in self.spec.variables if item.map == spec.name]
            places = tuple(
                SecVar(self.btf.add(Var(item.name, item.type, 1)), item.offset, item.size)
                for item in own
            )
            self.btf.add(DataSec(spec.name, len(spec.data), places))
            self.elf.section(spec.name, spec.data, writable=not spec.frozen)
            for item in own:
                self.elf.object(item.name, spec.name, item.offset, item.size)

    def _externs(self) -> None:
        variables = []
        for name in self.externs:
            function = self.btf.add(Func(name, self._prototype(name), _EXTERN))
            variables.append(SecVar(function, 0, 0))
            self.elf.undefined(name)
        if variables:
            self.btf.add(DataSec(".ksyms", 0, tuple(variables)))

    def _prototype(self, name: str) -> TypeId:
        """As the kernel has it; of the session kfuncs as Linux 7.0 has them, since kernels without
        sessions have none, or others, and run the program all the same."""
        if name in _SESSION_KFUNCS:
            context = (Param("ctx", self.btf.add(Ptr(VOID))),)
            result = self._int("bool", 1, 4)
            if name == "bpf_session_cookie":
                result = self.btf.add(Ptr(self._int("unsigned long long", 8, 0)))
            return self.btf.add(FuncProto(result, context))
        proto = self.kernel.prototype(self.kernel.id_of(name, Func))
        params = tuple(Param(p.name, self._copy(p.type)) for p in proto.params)
        return self.btf.add(FuncProto(self._copy(proto.type), params))

    def _copy(self, id: TypeId) -> TypeId:
        """A kernel's type by its kind and name, without what is in it."""
        if not id:
            return VOID
        id = self.kernel.strip(id)
        if not id:
            return VOID
        type = self.kernel[id]
        match type:
            case Int(name=name, size=size, encoding=encoding):
                return self._int(name, size, encoding)
            case Ptr(type=target):
                return self.btf.add(Ptr(self._copy(target)))
            case Struct(name=name):
                return self.btf.add(Struct(name, 0, ()))
            case Union(name=name):
                return self.btf.add(Union(name, 0, ()))
            case Enum(name=name, size=size):
                return self.btf.add(Enum(name, size, ()))
        return VOID

    # -- .BTF.ext --------------------------------------------------------------------------------

    def _ext(self) -> bytes:
        funcs, lines = struct.pack("<I", 8), struct.pack("<I", 16)
        for code in self.codes.values():
            name = self.btf.string(code.name)
            funcs += struct.pack("<II", name, len(code.funcs))
            funcs += b"".join(struct.pack("<II", at, type) for at, type in code.funcs)
            if code.lines:
                lines += struct.pack("<II", name, len(code.lines))
                lines += b"".join(struct.pack("<IIII", *line) for line in code.lines)
        if not any(code.lines for code in self.codes.values()):
            lines = b""
        size = _EXT_HEADER.size
        end = len(funcs) + len(lines)
        head = _EXT_HEADER.pack(_MAGIC, 1, 0, size, 0, len(funcs), len(funcs), len(lines), end, 0)
        return head + funcs + lines
