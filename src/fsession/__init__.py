"""BPF tracing sessions: one program at the entry and the exit of a kernel function.

Calls of a function, with arguments, result and duration::

    import fsession

    with fsession.trace("icmp_rcv") as calls:
        for call in calls:
            print(call.function, call.args["skb"], call.ret, call.duration_ns)

A program in C, loaded and attached by its sections::

    with fsession.Object.open("prog.bpf.o") as obj:
        obj.globals["threshold"] = 5
        with obj.load(), obj.attach():
            ...
        print(obj.maps["hits"][0])

A program in Python, compiled for the running kernel::

    @fsession.program("icmp_rcv")
    def icmp(ctx, skb):
        if fsession.session_is_return(ctx):
            fsession.emit(length=skb.len, ret=fsession.ret(ctx))

    with fsession.PythonObject([icmp]) as obj:
        obj.load()
        with obj.attach():
            for event in obj:
                print(event.length, event.ret)

What the running kernel can do::

    with fsession.KernelHost() as host:
        if fsession.features(host)[fsession.Feature.FSESSION]:
            print("no native sessions here:", host.why_not(fsession.Feature.FSESSION))

Names are imported when they are first used: ``import fsession`` itself costs next to nothing.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsession.attach import Attachment, Strategy, Target, find_targets
    from fsession.errors import (
        AttachError,
        BadInputError,
        CompileError,
        FsessionError,
        GuestError,
        InternalError,
        KernelError,
        NotFoundError,
        UnsupportedError,
        VerifierError,
    )
    from fsession.features import features
    from fsession.host import Feature
    from fsession.kernel import KernelHost
    from fsession.lang import (
        Array,
        Global,
        Hash,
        LruHash,
        PerCpuArray,
        PerCpuHash,
        RingBuf,
        StackTrace,
        Struct,
        TaskStorage,
        function,
        program,
    )
    from fsession.obj import compile_c
    from fsession.recording import Recording
    from fsession.session import Object, ObjectProgram
    from fsession.session.python import PythonObject
    from fsession.trace import Call, Summary
    from fsession.tracer import Tracer, trace
    from fsession.tracer.graph import Grapher, graph
    from fsession.tracer.hist import hist
    from fsession.tracer.top import top

__all__ = [
    "Array",
    "AttachError",
    "Attachment",
    "BadInputError",
    "Call",
    "CompileError",
    "Feature",
    "FsessionError",
    "Global",
    "Grapher",
    "GuestError",
    "Hash",
    "InternalError",
    "KernelError",
    "KernelHost",
    "LruHash",
    "NotFoundError",
    "Object",
    "ObjectProgram",
    "PerCpuArray",
    "PerCpuHash",
    "PythonObject",
    "Recording",
    "RingBuf",
    "StackTrace",
    "Strategy",
    "Struct",
    "Summary",
    "Target",
    "TaskStorage",
    "Tracer",
    "UnsupportedError",
    "VerifierError",
    "compile_c",
    "features",
    "find_targets",
    "function",
    "graph",
    "hist",
    "program",
    "top",
    "trace",
]

_MODULES = {
    "fsession.attach": ("Attachment", "Strategy", "Target", "find_targets"),
    "fsession.features": ("features",),
    "fsession.host": ("Feature",),
    "fsession.kernel": ("KernelHost",),
    "fsession.lang": (
        "Array",
        "Global",
        "Hash",
        "LruHash",
        "PerCpuArray",
        "PerCpuHash",
        "RingBuf",
        "StackTrace",
        "Struct",
        "TaskStorage",
        "function",
        "program",
    ),
    "fsession.obj": ("compile_c",),
    "fsession.recording": ("Recording",),
    "fsession.session": ("Object", "ObjectProgram"),
    "fsession.session.python": ("PythonObject",),
    "fsession.trace": ("Call", "Summary"),
    "fsession.tracer": ("Tracer", "trace"),
    "fsession.tracer.hist": ("hist",),
    "fsession.tracer.top": ("top",),
    "fsession.tracer.graph": ("Grapher", "graph"),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first used (PEP 562).

    What means something inside programs only (``fsession.ktime_get_ns``) is here, too.
    """
    from importlib import import_module

    if name in __all__:
        value = getattr(import_module(_PLACES.get(name, "fsession.errors")), name)
    else:
        value = None if name.startswith("_") else _intrinsic(name)
        if value is None:
            raise AttributeError(f"module 'fsession' has no attribute '{name}'")
    globals()[name] = value
    return value


def _intrinsic(name: str) -> Any:
    from fsession.lang.intrinsics import intrinsic

    return intrinsic(name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


class _Package(ModuleType):
    """``fsession.trace`` is the function, though there is a package of that name, too.

    When ``fsession.trace.event`` is imported, Python puts the package in the function's place.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _PLACES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
