"""Functions of a machine that programs can be attached to: real code with a patchable entry."""

from __future__ import annotations

import ctypes
import errno
from functools import cache
from typing import TYPE_CHECKING, Any

from fsession.btf.model import func_model
from fsession.engine.jit.code import place
from fsession.engine.memory import Block, peek
from fsession.engine.native import architecture, compile_text, images
from fsession.engine.trampoline import Trampoline
from fsession.errors import BadInputError, KernelError
from fsession.uapi import AttachType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.btf.catalog import Types
    from fsession.btf.model import FuncModel
    from fsession.btf.types import TypeId
    from fsession.engine.native import Function
    from fsession.engine.objects import CObject
    from fsession.engine.trampoline import Graveyard

__all__ = [
    "TEST_FUNCTIONS",
    "TEST_STRUCTS",
    "NativeFunction",
    "argument_values",
    "call_test_functions",
    "cut_result",
    "native_function",
]

_U64 = (1 << 64) - 1
_HANDLER = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)


def _sum(*loads: str) -> str:
    adds = [f"r2 = *({kind} *)(r1 +{8 * at})\n r0 += r2" for at, kind in enumerate(loads)]
    return "\n".join(["r0 = 0", *adds, "exit"])


# Declaration and body, as BPF on the argument words: what the kernel's functions of these names do.
TEST_FUNCTIONS = {
    "bpf_fentry_test1": ("int bpf_fentry_test1(int a)", "r0 = *(s32 *)(r1 +0)\n r0 += 1\n exit"),
    "bpf_fentry_test2": ("int bpf_fentry_test2(int a, u64 b)", _sum("s32", "u64")),
    "bpf_fentry_test3": ("int bpf_fentry_test3(char a, int b, u64 c)", _sum("s8", "s32", "u64")),
    "bpf_fentry_test4": (
        "int bpf_fentry_test4(void *a, char b, int c, u64 d)",
        _sum("u64", "s8", "s32", "u64"),
    ),
    "bpf_fentry_test5": (
        "int bpf_fentry_test5(u64 a, void *b, short c, int d, u64 e)",
        _sum("u64", "u64", "s16", "s32", "u64"),
    ),
    "bpf_fentry_test6": (
        "int bpf_fentry_test6(u64 a, void *b, short c, int d, void *e, u64 f)",
        _sum("u64", "u64", "s16", "s32", "u64", "u64"),
    ),
    "bpf_fentry_test7": ("int bpf_fentry_test7(struct bpf_fentry_test_t *arg)", _sum("u64")),
    "bpf_fentry_test8": (
        "int bpf_fentry_test8(struct bpf_fentry_test_t *arg)",
        "r1 = *(u64 *)(r1 +0)\n r0 = *(u64 *)(r1 +0)\n exit",
    ),
    "bpf_fentry_test9": (
        "u32 bpf_fentry_test9(u32 *a)",
        "r1 = *(u64 *)(r1 +0)\n r0 = *(u32 *)(r1 +0)\n exit",
    ),
    "bpf_fentry_test10": ("int bpf_fentry_test10(const void *a)", _sum("u64")),
    "bpf_modify_return_test": (
        "int bpf_modify_return_test(int a, int *b)",
        """
        r0 = *(s32 *)(r1 +0)
        r2 = *(u64 *)(r1 +8)
        r3 = *(s32 *)(r2 +0)
        r3 += 1
        *(u32 *)(r2 +0) = r3
        r0 += r3
        exit
        """,
    ),
    "bpf_modify_return_test2": (
        "int bpf_modify_return_test2(int a, int *b, short c, int d, void *e, char f, int g)",
        """
        r6 = r1
        r0 = *(s32 *)(r1 +0)
        r2 = *(u64 *)(r1 +8)
        r3 = *(s32 *)(r2 +0)
        r3 += 1
        *(u32 *)(r2 +0) = r3
        r0 += r3
        r2 = *(s16 *)(r6 +16)
        r0 += r2
        r2 = *(s32 *)(r6 +24)
        r0 += r2
        r2 = *(u64 *)(r6 +32)
        r0 += r2
        r2 = *(s8 *)(r6 +40)
        r0 += r2
        r2 = *(s32 *)(r6 +48)
        r0 += r2
        exit
        """,
    ),
    "bpf_testmod_test_struct_arg_1": (
        "int bpf_testmod_test_struct_arg_1(struct bpf_testmod_struct_arg_2 a, int b, int c)",
        _sum("u64", "u64", "s32", "s32"),
    ),
    "bpf_testmod_test_struct_arg_2": (
        "int bpf_testmod_test_struct_arg_2(int a, struct bpf_testmod_struct_arg_2 b, int c)",
        _sum("s32", "u64", "u64", "s32"),
    ),
    "bpf_testmod_test_struct_arg_3": (
        "int bpf_testmod_test_struct_arg_3(int a, int b, struct bpf_testmod_struct_arg_2 c)",
        _sum("s32", "s32", "u64", "u64"),
    ),
    "bpf_testmod_test_struct_arg_4": (
        "int bpf_testmod_test_struct_arg_4(struct bpf_testmod_struct_arg_1 a, int b, int c, int d,"
        " struct bpf_testmod_struct_arg_2 e)",
        _sum("s32", "s32", "s32", "s32", "u64", "u64"),
    ),
    "bpf_testmod_test_struct_arg_5": (
        "int bpf_testmod_test_struct_arg_5(void)",
        "r0 = 1\n exit",
    ),
    "bpf_testmod_test_struct_arg_7": (
        "int bpf_testmod_test_struct_arg_7(u64 a, void *b, short c, int d, void *e,"
        " struct bpf_testmod_struct_arg_4 f)",
        _sum("u64", "u64", "s16", "s32", "u64", "u64", "s32"),
    ),
    "bpf_testmod_test_struct_arg_8": (
        "int bpf_testmod_test_struct_arg_8(u64 a, void *b, short c, int d, void *e,"
        " struct bpf_testmod_struct_arg_4 f, int g)",
        _sum("u64", "u64", "s16", "s32", "u64", "u64", "s32", "s32"),
    ),
}

# Their structs: bytes; type, name and offset of each member.
TEST_STRUCTS = {
    "bpf_testmod_struct_arg_1": (4, (("int", "a", 0),)),
    "bpf_testmod_struct_arg_2": (16, (("long", "a", 0), ("long", "b", 8))),
    "bpf_testmod_struct_arg_4": (16, (("u64", "a", 0), ("int", "b", 8))),
}


class NativeFunction:
    """A function by its BTF: called from Python it runs as machine code, through what is attached.

    Arguments are ints, `CObject`s (their addresses) or bytes for a struct by value.
    """

    def __init__(self, types: Types, id: TypeId, body: str | Callable[..., Any]) -> None:
        self.name = types.name_of(id)
        self.id = id
        self.model: FuncModel = func_model(types, id)
        self.failures: list[BaseException] = []
        self._body = body
        if isinstance(body, str):
            handler = _compiled(body).address
        else:
            self._callback = _HANDLER(self._call_python)
            handler = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        self._image = place(images().adapter(self.model, handler))
        self.address = self._image.address
        self._native = native_function(self.model, self.address)

    def trampoline(self, graveyard: Graveyard) -> Trampoline:
        nop = architecture().ENTRY_NOP
        return Trampoline(self.name, self.address, nop, self.model, graveyard)

    def __call__(self, *args: int | CObject | bytes) -> int:
        """Call it as C would. What the Python body raises is raised here."""
        result: int = self._native(*argument_values(self.model, args, self.name))
        if self.failures:
            raise self.failures.pop()
        return cut_result(result, self.model)

    def _call_python(self, context: int) -> int:
        """The body; an exception must not pass through machine code."""
        assert not isinstance(self._body, str)
        values = []
        for arg in self.model.args:
            word = peek(context + 8 * arg.slot)
            values.append(word if arg.is_struct else _cut(word, arg.size, arg.is_signed))
        try:
            result = self._body(*values)
            return int(0 if result is None else result) & _U64
        except BaseException as error:
            self.failures.append(error)
            return 0


@cache
def _compiled(body: str) -> Function:
    """Each machine has the test functions."""
    return compile_text(body, {})


def call_test_functions(function: Callable[[str], Any], attach_type: AttachType | None) -> int:
    """As the kernel's test run of a tracing program; the result is wrong if a sum is."""
    if attach_type is AttachType.MODIFY_RETURN:
        number = Block(4, b"\1")
        result: int = function("bpf_modify_return_test")(1, number.address)
        side = int.from_bytes(number.read(), "little") == 2
        return side << 16 | result & 0xFFFF
    words = iter(range(1, 22))
    for name, expected in zip(TEST_FUNCTIONS, (2, 5, 15, 34, 65, 111), strict=False):
        called = function(name)
        result = called(*(next(words) for _ in called.model.args))
        if result != expected:
            raise KernelError(f"test run: {name} gave {result}", errno.EFAULT)
    argument = Block(16)
    for name, value in (("7", 0), ("8", argument.address), ("9", argument.address), ("10", 0)):
        if function(f"bpf_fentry_test{name}")(value):
            raise KernelError(f"test run: bpf_fentry_test{name}", errno.EFAULT)
    return 0


class _Pair(ctypes.Structure):
    """A struct of more than 8 bytes: both words in registers, or both on the stack."""

    _fields_ = (("first", ctypes.c_uint64), ("second", ctypes.c_uint64))


def native_function(model: FuncModel, address: int) -> Any:
    """To be called from Python, as C passes arguments."""
    kinds = (_Pair if arg.is_struct and arg.size > 8 else ctypes.c_uint64 for arg in model.args)
    return ctypes.CFUNCTYPE(ctypes.c_uint64, *kinds)(address)


def argument_values(
    model: FuncModel, args: Sequence[int | CObject | bytes], name: str
) -> list[Any]:
    """What a `native_function` is called with for `args`."""
    if len(args) != len(model.args):
        raise BadInputError(f"'{name}' takes {len(model.args)} arguments, not {len(args)}")
    each = zip(model.args, args, strict=True)
    values = [_words(value, arg.size, name) for arg, value in each]
    return [words[0] if len(words) == 1 else _Pair(*words) for words in values]


def cut_result(word: int, model: FuncModel) -> int:
    """The result's bytes of the register."""
    return _cut(word, model.return_size, model.return_signed)


def _words(value: int | CObject | bytes, size: int, name: str) -> list[int]:
    """The words of an argument. Those of a struct that ends in a register are all passed in one."""
    if isinstance(value, bytes):
        if len(value) != size:
            raise BadInputError(f"an argument of '{name}' has {size} bytes, not {len(value)}")
        padded = value.ljust(size + -size % 8, b"\0")
        return [int.from_bytes(padded[at : at + 8], "little") for at in range(0, len(padded), 8)]
    if size > 8:
        raise BadInputError(f"an argument of '{name}' is a struct of {size} bytes: give bytes")
    return [int(value) & _U64]


def _cut(word: int, size: int, is_signed: bool) -> int:
    bits = 8 * min(size, 8)
    word &= (1 << bits) - 1
    return word - (1 << bits) if is_signed and bits and word >> bits - 1 else word
