"""`program`: a Python function as a BPF program; compiled when it is loaded."""

from __future__ import annotations

import builtins
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from fsession.btf.model import Models
from fsession.btf.types import Func, TypeId
from fsession.errors import BadInputError
from fsession.lang.access import Typed
from fsession.lang.arith import S64
from fsession.lang.build import Builder
from fsession.lang.ctypes import (
    PROGRAM_CONTEXTS,
    VOID,
    Catalog,
    CType,
    Integer,
    Opaque,
    Pointer,
    Record,
)
from fsession.lang.expressions import Expressions
from fsession.lang.link import finish, link
from fsession.lang.objects import Function, Global, Map
from fsession.lang.python import Statements
from fsession.lang.references import check_references
from fsession.lang.scope import Argument, Context
from fsession.lang.source import Source
from fsession.lang.unit import Unit
from fsession.lang.values import static
from fsession.spec import ObjectSpec, ProgramSpec
from fsession.uapi import AttachType, ProgType

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Mapping, Sequence

    from fsession.btf.catalog import Types
    from fsession.lang.ir import Function as IrFunction
    from fsession.lang.ir import Place
    from fsession.lang.scope import Item

__all__ = ["Compiled", "Program", "compile_programs", "function", "program"]

_SECTIONS = {
    "fsession": AttachType.TRACE_FSESSION,
    "fsession.multi": AttachType.TRACE_FSESSION_MULTI,
    "fentry": AttachType.TRACE_FENTRY,
    "fexit": AttachType.TRACE_FEXIT,
}
RESULT = "ret"
PROGRAM_PREFIX = "prog:"
RESULT_SLOT = -1  # by bpf_get_func_ret


class Program:
    """A Python function that is to be compiled for one or several functions of the kernel."""

    def __init__(self, function: Callable[..., Any], targets: Sequence[str]) -> None:
        self.function = function
        self.name: str = function.__name__
        self.targets = tuple(targets)

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise BadInputError(f"'{self.name}' is a BPF program: it is attached, not called")


def program(*targets: str) -> Callable[[Callable[..., Any]], Program]:
    """Make a program of a function: ``@program("icmp_rcv")``, ``"fexit/tcp_v4_connect"``."""
    if not targets:
        raise BadInputError("a program has a function of the kernel as its target").hint(
            '@fsession.program("icmp_rcv")'
        )
    return lambda function: Program(function, targets)


def function(made: Callable[..., Any]) -> Function:
    """Make a function of its own (a BPF subprogram) that programs call."""
    return Function(made)


class Compiled:
    """What a compilation gives: the object for a host, and what connects it with Python."""

    def __init__(
        self, spec: ObjectSpec, unit: Unit, functions: Mapping[str, list[IrFunction]]
    ) -> None:
        self.spec = spec
        self.events = tuple(unit.events)
        self.maps = dict(unit.objects)
        self.records = dict(unit.records)
        self.globals = dict(unit.globals)
        self.functions = functions

    def connect(self, maps: Mapping[str, Any], variables: Any) -> None:
        """Make the Python objects views of what was loaded."""
        for name, item in self.maps.items():
            item.view = maps[name]
        for variable in self.globals.values():
            variable.view = variables

    def disconnect(self) -> None:
        """Make them descriptions again; what they held is gone with the maps."""
        for item in self.maps.values():
            item.view = None
        for variable in self.globals.values():
            variable.view = None


def compile_programs(
    programs: Sequence[Program],
    types: Callable[[str], Types],
    name: str = "program",
    program_function: Callable[[str], tuple[Types, TypeId]] | None = None,
) -> Compiled:
    """Compile for a kernel; ``types(module)`` gives its BTF, "" for vmlinux's.

    ``program_function("prog:NAME")`` gives that of a loaded BPF program, and its function's id.
    Raises `CompileError` with the place in the source.
    """
    unit = Unit(Catalog(types("")))
    specs: list[ProgramSpec] = []
    shown: dict[str, list[IrFunction]] = {}
    for item in programs:
        for target in item.targets:
            kind, label = _section(item, target)
            compiler = _Compiler(unit, item, types, label, kind, program_function)
            spec, functions = compiler.run(_unique(item, specs))
            specs.append(spec)
            shown[spec.name] = functions
    btf = unit.types.types()
    specs = [replace(spec, types=btf) for spec in specs]
    object_spec = ObjectSpec(
        name, tuple(specs), tuple(unit.maps.values()), tuple(unit.variables), types=btf
    )
    return Compiled(object_spec, unit, shown)


def _unique(item: Program, specs: Sequence[ProgramSpec]) -> str:
    taken = {spec.name for spec in specs}
    name, number = item.name, 2
    while name in taken:
        name, number = f"{item.name}_{number}", number + 1
    return name


def _section(item: Program, target: str) -> tuple[str, str]:
    """``(section, function)`` of ``icmp_rcv``, ``fexit/icmp_rcv``, ``fsession.s/…``."""
    kind, slash, name = target.partition("/")
    if not slash or kind.startswith(PROGRAM_PREFIX):
        kind, slash, name = "", "", target
    kind = kind if slash else "fsession"
    if any(letter in name for letter in "*?[") and kind.removesuffix(".s") == "fsession":
        kind = kind.replace("fsession", "fsession.multi")
    if kind.removesuffix(".s") not in _SECTIONS or not name:
        source, tree = Source.of(item.function)
        known = ", ".join(_SECTIONS)
        raise source.error(tree, f"'{target}' is no target", f"FUNCTION, or one of {known} with /")
    return kind, name


class _Compiler:
    """Of one program on one function."""

    def __init__(
        self,
        unit: Unit,
        item: Program,
        types: Callable[[str], Types],
        target: str,
        kind: str,
        program_function: Callable[[str], tuple[Types, TypeId]] | None,
    ) -> None:
        self.unit, self.item, self.target, self.kind = unit, item, target, kind
        module, _, self.name = target.rpartition(":")
        self.is_program = target.startswith(PROGRAM_PREFIX) and program_function is not None
        self.id: TypeId | None
        if target.startswith(PROGRAM_PREFIX) and program_function is not None:
            self.types, self.id = program_function(target)
        else:
            self.types = types(module)
            self.id = self.types.find(self.name, Func)
        self.catalog = unit.catalog
        if self.types is not unit.catalog.types:
            self.catalog = Catalog(self.types, unit.catalog)
        self.source, self.tree = Source.of(item.function)
        self.functions: list[IrFunction] = []
        self.btf: dict[str, TypeId] = {}
        self._locals: dict[int, str] = {}

    def run(self, name: str) -> tuple[ProgramSpec, list[IrFunction]]:
        attach_type = _SECTIONS[self.kind.removesuffix(".s")]
        build = Builder(name, 1)
        e = self._expressions(build, self.item.function)
        e.context = Context(build.function.params[0])
        build.function.at = self.source.place(self.tree)
        self._parameters(e)
        Statements(e, is_main=True).function(self.tree)
        check_references(build.function, _fail_in(self.source))
        self.btf[name] = self.unit.function_type(name, ("ctx",), is_main=True)
        self.functions.insert(0, build.function)
        self.functions = [part for function in self.functions for part in finish(function)]
        for made in self.functions:
            if made.name not in self.btf:
                self.btf[made.name] = self.unit.callback_type(made.name)
        linked = link(self.functions, self.btf)
        spec = ProgramSpec(
            name, ProgType.TRACING, tuple(linked.insns), attach_type, self.target,
            f"{self.kind}/{self.target}", sleepable=self.kind.endswith(".s"),
            relocs=tuple(linked.relocs), funcs=tuple(linked.funcs), lines=tuple(linked.lines),
        )  # fmt: skip
        return spec, self.functions

    def _expressions(self, build: Builder, function: Callable[..., Any]) -> Expressions:
        found = _finder(function)
        e = Expressions(self.unit, build, self.source, found, self._local_function, self.catalog)
        e.sleepable = self.kind.endswith(".s")
        return e

    def _parameters(self, e: Expressions) -> None:
        """``ctx`` and parameters of the traced function, by their names."""
        self.source.check_parameters(self.tree)
        if self.kind.startswith("fsession.multi"):
            signatures = self._many()
        else:
            if self.id is None:
                message = f"the kernel has no function '{self.name}'"
                near = self.types.near(self.name, Func)
                hint = f"did you mean {', '.join(near)}?" if near else ""
                raise self.source.error(self.tree, message, hint)
            signatures = {self.name: self._signature(self.id, direct=True)}
        e.result = self._same(signatures, RESULT, self.tree, optional=True)
        for at, arg in enumerate((*self.tree.args.posonlyargs, *self.tree.args.args)):
            if arg.arg == "ctx" and at == 0:
                assert e.context is not None
                e.names["ctx"] = e.context
            else:
                found = self._same(signatures, arg.arg, arg)
                assert found is not None
                e.names[arg.arg] = found

    def _signature(self, id: TypeId, *, direct: bool) -> dict[str, Argument]:
        """Parameters by name, and the result; `direct`: the context gives what it can."""
        proto = self.types.prototype(id)
        slot = 0
        found: dict[str, Argument] = {}
        for param in proto.params:
            type = self._type_of(param.type)
            pointer = _is_known_pointer(type) and not self.is_program
            plain = direct and (isinstance(type, Integer | Record) or pointer)
            found[param.name] = Argument(param.name, type, slot, plain)
            slot += max(1, -(-type.size // 8))
        if proto.type:
            type = self.catalog.of(proto.type)
            found[RESULT] = Argument(RESULT, type, slot if direct else RESULT_SLOT, direct)
        return found

    def _type_of(self, id: TypeId) -> CType:
        """Without the layout of a BPF program's context, which is not the one in memory."""
        type = self.catalog.of(id)
        to = type.to if self.is_program and isinstance(type, Pointer) else None
        if isinstance(to, Record) and to.name in PROGRAM_CONTEXTS:
            return Pointer(Opaque(f"struct {to.name}"))
        return type

    def _many(self) -> dict[str, dict[str, Argument]]:
        """Of the functions that a pattern stands for, those that can be traced."""
        models = Models(self.types)
        found = {
            name: self._signature(id, direct=False)
            for name, id in self.types.functions(self.name)
            if isinstance(models.slots(id), int)
        }
        if not found:
            raise self.source.error(self.tree, f"no function of the kernel matches '{self.name}'")
        return found

    def _same(
        self,
        signatures: Mapping[str, Mapping[str, Argument]],
        name: str,
        node: ast.AST,
        *,
        optional: bool = False,
    ) -> Argument | None:
        """A parameter that all functions have in the same place, of the same type."""
        first: tuple[str, Argument] | None = None
        for function, params in signatures.items():
            found = params.get(name)
            if found is None and optional:
                return None
            if found is None:
                names = ", ".join(param for param in params if param != RESULT) or "none"
                message = f"{function}() has no parameter '{name}'"
                raise self.source.error(node, message, f"it has: {names}; and ctx comes first")
            if first is None:
                first = function, found
            elif (found.slot, found.type) != (first[1].slot, first[1].type):
                if optional:
                    return None
                message = f"'{name}' of {function}() is not where and what that of {first[0]}() is"
                hint = "name the functions one by one: each then gets a program of its own"
                raise self.source.error(node, message, hint)
        return None if first is None else first[1]

    def _local_function(self, item: Function, node: ast.AST) -> str:
        """Compile a subprogram when it is first called; its name."""
        known = self._locals.get(id(item))
        if known is not None:
            return known
        source, tree = Source.of(item.function)
        source.check_parameters(tree)
        params = [arg.arg for arg in (*tree.args.posonlyargs, *tree.args.args)]
        if len(params) > 5:
            raise source.error(tree, f"{len(params)} parameters", "a function takes up to 5")
        self._locals[id(item)] = item.name
        build = Builder(item.name, len(params))
        build.function.at = source.place(tree)
        outer, self.source = self.source, source
        e = self._expressions(build, item.function)
        for param, value in zip(params, build.function.params, strict=True):
            e.names[param] = Typed(S64, value)
        Statements(e, is_main=False).function(tree)
        check_references(build.function, _fail_in(source))
        self.source = outer
        self.btf[item.name] = self.unit.function_type(item.name, tuple(params), is_main=False)
        self.functions.append(build.function)
        return item.name


def _fail_in(source: Source) -> Callable[[Place | None, str, str], NoReturn]:
    def fail(place: Place | None, message: str, hint: str) -> NoReturn:
        assert place is not None
        raise source.error_at(place, message, hint)

    return fail


def _is_known_pointer(type: Any) -> bool:
    """Whether the verifier lets programs read such an argument from the context: a pointer to a
    struct, or, as a plain number, one to an integer (5.17) or void."""
    if not isinstance(type, Pointer):
        return False
    is_number = isinstance(type.to, Integer) and not type.to.enum
    return isinstance(type.to, Record) or is_number or type.to == VOID


def _finder(function: Callable[..., Any]) -> Callable[[str], Item | None]:
    """Names of the surroundings of a function: what it closes over, its module, builtins."""
    closure = inspect.getclosurevars(function).nonlocals
    module = getattr(function, "__globals__", {})

    def find(name: str) -> Item | None:
        for names in (closure, module, vars(builtins)):
            if name in names:
                value = names[name]
                if isinstance(value, Map | Global) and not value.name:
                    value.name = name
                return static(value)
        return None

    return find
