"""What a call of a BPF program takes and gives: the kernel's argument and result classes as values.

The kernel has a prototype for each helper (``struct bpf_func_proto`` in include/linux/bpf.h) and
flags for each kfunc (include/linux/btf.h); these are their words as values.
"""

from __future__ import annotations

import re
from enum import Enum, IntFlag, auto
from typing import TYPE_CHECKING

from fsession.frozen import frozen

if TYPE_CHECKING:
    from fsession.uapi import FuncId

__all__ = [
    "Access",
    "Arg",
    "ArgKind",
    "Helper",
    "Kfunc",
    "KfuncFlag",
    "Only",
    "Result",
    "ResultKind",
]

_PROTOTYPE = re.compile(r"^(?P<result>.*?[ *])(?P<name>\w+)\((?P<params>.*)\)$")


class ArgKind(Enum):
    """``enum bpf_arg_type`` without its flags, which are members of `Arg`."""

    ANYTHING = auto()  # any initialised word
    SCALAR = auto()  # a number, no pointer (until Linux 6.12: ANYTHING)
    CTX = auto()  # the program's context
    MAP = auto()  # CONST_MAP_PTR: a map that is known when the program is loaded
    KEY = auto()  # PTR_TO_MAP_KEY: memory of the map's key size
    VALUE = auto()  # PTR_TO_MAP_VALUE: memory of the map's value size
    MEM = auto()  # memory; its size is the next argument, or `Arg.size`
    SIZE = auto()  # CONST_SIZE: the bytes of the MEM before it, with a known bound
    ALLOC_SIZE = auto()  # CONST_ALLOC_SIZE: a constant, the bytes of the memory in the result
    BTF_ID = auto()  # a pointer to the kernel's struct `Arg.type`
    SOCK = auto()  # BTF_ID_SOCK_COMMON: a socket of any type that begins with struct sock_common
    SOCK_COMMON = auto()  # the same of the network programs' own pointers
    SPIN_LOCK = auto()  # a struct bpf_spin_lock in a map value
    TIMER = auto()  # a struct bpf_timer in a map value
    KPTR = auto()  # a field of a map value that holds a kernel pointer
    PERCPU = auto()  # PTR_TO_PERCPU_BTF_ID: a per-CPU variable of the kernel
    FUNC = auto()  # a function of the program: a callback
    STACK = auto()  # the program's stack, for the callback
    DYNPTR = auto()  # a struct bpf_dynptr on the stack
    RINGBUF_MEM = auto()  # a record that ringbuf_reserve gave
    CONST_STR = auto()  # a text in a read-only map


class Access(Enum):
    """What a call does with memory that it is given."""

    NONE = auto()
    READ = auto()
    WRITE = auto()  # fills it (MEM_UNINIT): it need not be initialised
    BOTH = auto()


@frozen
class Arg:
    """One argument. `nullable`: 0 is taken, too. `releases`: the reference ends with the call.

    `type` is the struct of a BTF_ID, or "local" or "ringbuf" of a DYNPTR. `size`: bytes of a MEM
    without a size argument. `zero`: a SIZE that may be 0.
    """

    kind: ArgKind
    nullable: bool = False
    access: Access = Access.NONE
    releases: bool = False
    type: str = ""
    size: int = 0
    zero: bool = False

    @property
    def is_pointer(self) -> bool:
        return self.kind not in _WORDS


_WORDS = (ArgKind.ANYTHING, ArgKind.SCALAR, ArgKind.SIZE, ArgKind.ALLOC_SIZE)


class ResultKind(Enum):
    """``enum bpf_return_type`` without its flags."""

    VOID = auto()
    INTEGER = auto()
    MAP_VALUE = auto()  # a pointer to a value of the map argument
    MEM = auto()  # a pointer to memory; its bytes are an ALLOC_SIZE argument
    MEM_OR_BTF_ID = auto()  # a pointer to what the PERCPU argument is of
    BTF_ID = auto()  # a pointer to the kernel's struct `Result.type`; "": that of the KPTR argument


@frozen
class Result:
    """`size` in bytes and `signed` are of an INTEGER, as the helper is declared in C.

    `type` is the struct of a BTF_ID, and "ringbuf" for the MEM of a record.
    """

    kind: ResultKind
    nullable: bool = False
    type: str = ""
    trusted: bool = False
    size: int = 8
    signed: bool = False


class Only(Enum):
    """Where a call is allowed, if not in every tracing program."""

    EVERYWHERE = ""
    ALLOWLIST = "programs on functions of the kernel's own list"  # btf_allowlist_d_path
    FSESSION = "sessions"
    LSM = "LSM programs"
    ITER = "iterators"


@frozen
class Helper:
    """A helper that programs of BPF_PROG_TYPE_TRACING may call.

    `c` is its declaration in C without the prefix ``bpf_``; `since` the first Linux release where
    tracing programs have it. `sleeps`: for sleepable programs only. `acquires`: the program must
    hand the result (or what it fills) to a call that releases it, on every path.
    """

    id: FuncId
    c: str
    args: tuple[Arg, ...]
    result: Result
    since: str
    gpl: bool = False
    sleeps: bool = False
    acquires: bool = False
    only: Only = Only.EVERYWHERE

    @property
    def name(self) -> str:
        return self.id.name

    @property
    def is_variadic(self) -> bool:
        """trace_printk: up to three more words."""
        return self.c.endswith("...)")

    @property
    def params(self) -> tuple[str, ...]:
        """Names of the arguments."""
        return tuple(param[1] for param in self.c_params)

    @property
    def c_params(self) -> tuple[tuple[str, str], ...]:
        """``(C type, name)`` of the arguments, without "..."."""
        found = _PROTOTYPE.match(self.c)
        assert found is not None
        words = [word.strip() for word in found["params"].split(",")]
        return tuple(_split(word) for word in words if word not in ("void", "..."))

    @property
    def releases(self) -> int | None:
        """The index of the argument whose reference the call ends."""
        return next((at for at, arg in enumerate(self.args) if arg.releases), None)


def _split(param: str) -> tuple[str, str]:
    """``("const void *", "key")`` of ``const void *key``."""
    name = re.split(r"[ *]", param)[-1]
    return param.removesuffix(name).strip(), name


class KfuncFlag(IntFlag):
    """``KF_*`` of include/linux/btf.h."""

    ACQUIRE = 1 << 0  # the result is a reference, to be released on every path
    RELEASE = 1 << 1  # ends the reference that its first argument is
    RET_NULL = 1 << 2
    TRUSTED_ARGS = 1 << 4  # pointers must be valid ones; since Linux 7.0 this holds for all
    SLEEPABLE = 1 << 5
    DESTRUCTIVE = 1 << 6
    RCU = 1 << 7  # pointers may be of an RCU section, too
    ITER_NEW = 1 << 8
    ITER_NEXT = 1 << 9
    ITER_DESTROY = 1 << 10
    RCU_PROTECTED = 1 << 11  # in an RCU section only


@frozen
class Kfunc:
    """What BTF does not say of a kernel function that tracing programs may call.

    `source` is the kernel's file that has it. Which kernel functions there are, and their
    prototypes, is for BTF to say: one that is there and not in this table has unknown flags.
    """

    name: str
    since: str
    source: str
    flags: KfuncFlag = KfuncFlag(0)
    only: Only = Only.EVERYWHERE

    @property
    def acquires(self) -> bool:
        return KfuncFlag.ACQUIRE in self.flags

    @property
    def releases(self) -> int | None:
        """The index of the argument whose reference the call ends."""
        return 0 if KfuncFlag.RELEASE in self.flags else None

    @property
    def nullable(self) -> bool:
        return KfuncFlag.RET_NULL in self.flags

    @property
    def sleeps(self) -> bool:
        return KfuncFlag.SLEEPABLE in self.flags
