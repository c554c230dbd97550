"""Functions of integers on the real kernel: compiled into one BPF_PROG_TYPE_SYSCALL program, whose
context has the arguments and takes the results."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fsession.btf.encode import Builder as BtfBuilder
from fsession.btf.types import Func, FuncProto, Int, Param, Ptr, TypeId
from fsession.host import LoadRequest
from fsession.lang.build import Builder
from fsession.lang.ir import Space
from fsession.lang.link import finish, link
from fsession.uapi import ProgType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.lang.ir import Function

__all__ = ["caller", "load_request", "results", "run"]

U64 = (1 << 64) - 1


def caller(functions: Sequence[Function], params: int) -> Function:
    """Calls each with the first `params` words of the context; results go behind them."""
    build = Builder("main", 1)
    (context,) = build.function.params
    for place, function in enumerate(functions, params):
        args = [build.load(context, 8 * at, 8, Space.MAP) for at in range(params)]
        result = build.local(function.name, *args)
        build.store(context, 8 * place, result, 8, Space.MAP)
    build.give_back(build.const(0))
    return build.function


def load_request(functions: Sequence[Function], params: int) -> LoadRequest:
    """The program of `caller` and the functions, each after all passes."""
    main = caller(functions, params)
    parts = [part for function in (main, *functions) for part in finish(function)]
    btf = BtfBuilder()
    word = btf.add(Int("long long", 8, 64, 1))
    number = btf.add(Int("int", 4, 32, 1))
    context = btf.add(Ptr(TypeId(0)))
    words = tuple(Param(f"p{at}", word) for at in range(params))
    types = {
        function.name: btf.add(Func(function.name, btf.add(FuncProto(word, words)), 0))
        for function in parts[1:]
    }
    types["main"] = btf.add(Func("main", btf.add(FuncProto(number, (Param("c", context),))), 1))
    linked = link(parts, types)
    return LoadRequest(
        name="main",
        type=ProgType.SYSCALL,
        insns=tuple(linked.insns),
        types=btf.types(),
        funcs=tuple(linked.funcs),
        sleepable=True,
    )


def run(host, functions: Sequence[Function], inputs: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """For each of `inputs` what each function gives, as unsigned 64 bits."""
    return results(host, load_request(functions, len(inputs[0])), inputs, len(functions))


def results(
    host, request: LoadRequest, inputs: Sequence[Sequence[int]], count: int
) -> list[list[int]]:
    """For each of `inputs` what each of `count` functions gives, as unsigned 64 bits."""
    found = []
    with host.load(request) as program:
        for words in inputs:
            params = len(words)
            context = struct.pack(f"<{params}Q", *(word & U64 for word in words))
            done = program.test_run(ctx=context.ljust(8 * (params + count), b"\0"))
            found.append(list(struct.unpack_from(f"<{count}Q", done.ctx_out, 8 * params)))
    return found
