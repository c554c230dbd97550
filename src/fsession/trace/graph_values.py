"""What is shown of a call's arguments in a graph, compiled to the function that sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.lang.build import Builder
from fsession.lang.emit import emit
from fsession.lang.ir import Space, Test
from fsession.lang.link import finish
from fsession.trace import graph_record as record
from fsession.trace.expressions import Expressions
from fsession.trace.graph_code import GRAPH_COUNTS_MAP, GRAPH_RING_MAP, Part
from fsession.trace.graph_record import NOTE, GraphCounts, Kind
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.fields import Field
    from fsession.trace.scope import Scope

__all__ = ["compile_values"]


def compile_values(scope: Scope, fields: Sequence[Field], indices: Sequence[int]) -> Part:
    """``void function(context, tree, order)``: sends the note with `fields`.

    The program is verified against a function without arguments: `scope` is not `direct`.
    """
    build = Builder("fsession_values", 3)
    context, tree, order = build.function.params

    def count(name: str) -> None:
        counter = build.map_value(GRAPH_COUNTS_MAP, GraphCounts.offset(name))
        build.atomic_add(counter, 0, build.const(1), 8)

    size = build.const(NOTE + sum(field.room for field in fields))
    none = build.const(0)
    note = build.helper(FuncId.ringbuf_reserve, build.map(GRAPH_RING_MAP), size, none)
    there, lost, done = build.block(), build.block(), build.block()
    build.branch(Test.NE, note, build.const(0), there, lost)
    build.begin(there)
    build.store(note, record.TREE, tree, 8, Space.MAP)
    build.store(note, record.ORDER, order, 4, Space.MAP)
    build.store(note, record.KIND, build.const(Kind.VALUES), 2, Space.MAP)
    found = Expressions(scope, build, context, count_fault=lambda: count("faulted"))
    at = NOTE
    for field in fields:
        found.write(field, note, at)
        at += field.room
    build.helper(FuncId.ringbuf_submit, note, build.const(0))
    build.jump(done)
    build.begin(lost)
    count("lost_entries")
    build.jump(done)
    build.begin(done)
    build.give_back(build.const(0))
    finish(build.function)
    code = emit(build.function)
    return Part(tuple(indices), tuple(code.insns), tuple(code.relocs))
