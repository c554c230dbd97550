"""Expressions that decide at the entry of a root whether a tree begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.tracer.signatures import target_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fsession.trace.graph_code import Part
    from fsession.trace.scope import Scope
    from fsession.tracer.graph_selection import GraphSelection, Node

__all__ = ["root_conditions", "scopes"]


def root_conditions(selection: GraphSelection, sources: Sequence[str]) -> tuple[Part, ...]:
    """For each root; roots for which the expressions are the same program share one.

    Raises `CompileError` where they make no sense, and `BadInputError` for those on the end of a
    call.
    """
    if not sources:
        return ()
    from fsession.trace.graph_filter import compile_condition  # pycparser takes its time

    alike: dict[object, tuple[Scope, list[int]]] = {}
    roots = [(at, node) for at, node in enumerate(selection.nodes) if not node.depth]
    for index, scope in scopes(roots):
        for source in sources:
            if scope.is_at_exit(source):
                _refuse(source)
        key = (id(scope.catalog), scope.key(sources))
        alike.setdefault(key, (scope, []))[1].append(index)
    return tuple(compile_condition(scope, sources, indices) for scope, indices in alike.values())


def scopes(nodes: Iterable[tuple[int, Node]]) -> Iterator[tuple[int, Scope]]:
    """Of functions of a graph, which are given with their indices."""
    from fsession.lang.ctypes import Catalog
    from fsession.trace.scope import Scope

    catalogs: dict[int, Catalog] = {}
    for index, node in nodes:
        target = node.target
        catalog = catalogs.setdefault(id(target.types), Catalog(target.types))
        signature, is_program = target_signature(target), target.program is not None
        yield index, Scope.of(catalog, signature, direct=False, is_program=is_program)


def _refuse(source: str) -> None:
    error = BadInputError(f"the filter '{source}' is about the end of a call")
    raise error.hint(
        "it decides at the entry of a root whether a tree begins; "
        "about the root's end are --min-duration and --errors"
    )
