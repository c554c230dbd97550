"""What there is in a machine to be called: its types, and functions by their names."""

from __future__ import annotations

import errno
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsession.btf.catalog import Types
from fsession.btf.glob import glob_regex
from fsession.btf.types import Func, Struct, TypeId
from fsession.engine.declare import Declarations, parse
from fsession.engine.functions import TEST_FUNCTIONS, TEST_STRUCTS, NativeFunction
from fsession.engine.libraries import LibraryFunction
from fsession.engine.objects import members
from fsession.engine.threads import TASK_BYTES, threads
from fsession.errors import (
    AttachError,
    BadInputError,
    FsessionError,
    KernelError,
    NotFoundError,
    UnsupportedError,
)
from fsession.host import Symbol

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from fsession.engine.shared import SharedLibrary

__all__ = ["World"]

_VMLINUX = Path("/sys/kernel/btf/vmlinux")
_KFUNCS = (
    "bool bpf_session_is_return(void *ctx)",
    "u64 *bpf_session_cookie(void *ctx)",
    "void *bpf_cast_to_kern_ctx(void *obj)",
    "void *bpf_rdonly_cast(void *obj, u32 btf_id)",
    "void bpf_rcu_read_lock(void)",
    "void bpf_rcu_read_unlock(void)",
    "int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end)",
    "int *bpf_iter_num_next(struct bpf_iter_num *it)",
    "void bpf_iter_num_destroy(struct bpf_iter_num *it)",
)


class World:
    """`refused` are the functions that nothing can be attached to, and why."""

    def __init__(self, btf: Types | None) -> None:
        kfuncs = Declarations(btf if btf is not None else _own_btf(), "kfuncs")
        kfuncs.add_struct("task_struct", TASK_BYTES)
        for text in _KFUNCS:
            kfuncs.add(parse(text))
        self._declared = Declarations(kfuncs.types(), "engine")
        self.types = self._declared.types()
        self.functions: dict[str, NativeFunction | LibraryFunction] = {}
        self.refused: dict[str, FsessionError] = {}
        self.libraries: dict[str, SharedLibrary] = {}

    # Making functions.

    def define_test_functions(self) -> None:
        for name, (size, parts) in TEST_STRUCTS.items():
            self._declared.add_struct(name, size, parts)
        ids = [self._declared.add(parse(text)) for text, _ in TEST_FUNCTIONS.values()]
        self.types = self._declared.types()
        for id, (name, (_, body)) in zip(ids, TEST_FUNCTIONS.items(), strict=True):
            self.functions[name] = NativeFunction(self.types, id, body)

    def define(
        self, declaration: str, body: Callable[..., Any], busy: Container[object] = ()
    ) -> NativeFunction:
        """Those that are `busy` can't be defined anew."""
        if declaration.isidentifier():
            proto = self.types.ref(self.types.id_of(declaration, Func))
            id = self._declared.add_function(declaration, TypeId(proto))
        else:
            id = self._declared.add(parse(declaration))
        self.types = self._declared.types()
        function = NativeFunction(self.types, id, body)
        if function.name in busy:
            raise BadInputError(f"'{function.name}' has programs attached: define it before")
        self.functions[function.name] = function
        return function

    def library(self, path: str, declaration: str) -> LibraryFunction:
        id = self._declared.add(parse(declaration))
        self.types = self._declared.types()
        function = LibraryFunction(self.types, id, self._shared(path))
        self.functions[function.name] = function
        return function

    def add_library(
        self,
        library: SharedLibrary,
        prototypes: Mapping[str, TypeId],
        endless: Container[str] = (),
    ) -> int:
        self.libraries[library.path] = library
        fresh = [name for name in prototypes if name not in self.functions]
        ids = {name: self._declared.add_function(name, prototypes[name]) for name in fresh}
        self.types = self._declared.types()
        for name, id in ids.items():
            try:
                if name in endless:
                    raise AttachError(name, "it never returns", errno.EINVAL)
                self.functions[name] = LibraryFunction(self.types, id, library)
            except FsessionError as error:
                self.refused[name] = error
        return sum(name in self.functions for name in fresh)

    def _shared(self, path: str) -> SharedLibrary:
        if path not in self.libraries:
            from fsession.engine.shared import SharedLibrary  # here: pyelftools is large

            self.libraries[path] = SharedLibrary(path)
        return self.libraries[path]

    # Finding them.

    def function(self, name: str) -> NativeFunction | LibraryFunction:
        if name not in self.functions:
            raise NotFoundError("function of the machine", name).hint(
                f'machine.define("{name}", …) makes one'
            )
        return self.functions[name]

    def check_target(self, btf_id: int, what: str) -> None:
        """A function of this id can be attached to."""
        name = self.types.name_of(TypeId(btf_id))
        if name in self.refused:
            raise self.refused[name]
        if name not in self.functions:
            raise KernelError(what, errno.ENOENT).hint(
                f'the machine has no function {name}: machine.define("{name}", …) makes one'
            )

    def traceable(self, glob: str) -> Sequence[str]:
        """Those with a patchable entry, also if their prototype can't be had."""
        pattern = re.compile(glob_regex(glob))
        odd = [name for name, why in self.refused.items() if isinstance(why, UnsupportedError)]
        return sorted(name for name in (*self.functions, *odd) if pattern.fullmatch(name))

    def symbols(self, glob: str) -> Sequence[Symbol]:
        pattern = re.compile(glob_regex(glob))
        names = (*self.functions, *self.refused)
        return [Symbol(name) for name in sorted(names) if pattern.fullmatch(name)]

    def symbols_at(self, address: int) -> Iterator[str]:
        """Of the start of a function, or of what is inside one of a library."""
        yield from (name for name, one in self.functions.items() if one.address == address)
        for library in self.libraries.values():
            for one in library.functions:
                if one.start <= address < one.start + one.size:
                    yield f"{one.name}+{address - one.start:#x}"

    # What programs name.

    def symbol_of_id(self, btf_id: int) -> int:
        name = self.types.name_of(TypeId(btf_id))
        if name not in self.functions:
            raise KernelError(f"address of '{name}'", errno.ENOENT)
        return self.functions[name].address

    def kfunc_name(self, btf_id: int, off: int) -> str:
        known = 0 < btf_id < len(self.types) and not off
        if not known or self.types.kind_of(TypeId(btf_id)) is not Func:
            raise KernelError("load program", errno.EINVAL)
        return self.types.name_of(TypeId(btf_id))

    def describe_tasks(self) -> None:
        """Before a program sees one: where its members are in the machine's BTF."""
        id = self.types.find("task_struct", Struct)
        if id is None:
            return
        named = {name: bit // 8 for name, _, bit, _ in members(self.types, id)}
        if self.types.size_of(id) > TASK_BYTES:
            raise UnsupportedError(f"a task of more than {TASK_BYTES} bytes")
        if not {"pid", "tgid", "comm"} <= set(named):
            return
        if not threads().describe_task(named["pid"], named["tgid"], named["comm"]):
            raise UnsupportedError("tasks as two kernels have them, in one process")


@cache
def _own_btf() -> Types | None:
    """Of the kernel of this machine, if it can be read; once for all machines of the process."""
    try:
        return Types.from_bytes(_VMLINUX.read_bytes(), name="vmlinux")
    except OSError:
        return None
