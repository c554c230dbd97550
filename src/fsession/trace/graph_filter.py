"""Expressions on a root, compiled to the function that decides whether a tree begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.lang.build import Builder
from fsession.lang.emit import emit
from fsession.lang.link import finish
from fsession.trace.expressions import Expressions
from fsession.trace.graph_code import GRAPH_COUNTS_MAP, Part
from fsession.trace.graph_record import GraphCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.scope import Scope

__all__ = ["compile_condition"]


def compile_condition(scope: Scope, sources: Sequence[str], indices: Sequence[int]) -> Part:
    """``bool function(context)``: true where all `sources` are, for the roots with `indices`.

    The program is verified against a function without arguments: `scope` is not `direct`. Raises
    `CompileError`.
    """
    build = Builder("fsession_root", 1)

    def count_fault() -> None:
        counter = build.map_value(GRAPH_COUNTS_MAP, GraphCounts.offset("faulted"))
        build.atomic_add(counter, 0, build.const(1), 8)

    found = Expressions(scope, build, build.function.params[0], count_fault=count_fault)
    otherwise = build.block()
    for source in sources:
        found.require(source, otherwise)
    build.give_back(build.const(1))
    build.begin(otherwise)
    build.give_back(build.const(0))
    finish(build.function)
    code = emit(build.function)
    return Part(tuple(indices), tuple(code.insns), tuple(code.relocs))
