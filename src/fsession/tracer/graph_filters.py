"""Expressions that decide at the entry of a root whether a tree begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.tracer.signatures import target_signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.graph_code import Condition
    from fsession.trace.scope import Scope
    from fsession.tracer.graph_selection import GraphSelection

__all__ = ["root_conditions"]


def root_conditions(selection: GraphSelection, sources: Sequence[str]) -> tuple[Condition, ...]:
    """For each root; roots for which the expressions are the same program share one.

    Raises `CompileError` where they make no sense, and `BadInputError` for those on the end of a
    call.
    """
    if not sources:
        return ()
    from fsession.trace.graph_filter import compile_condition  # pycparser takes its time

    alike: dict[object, tuple[Scope, list[int]]] = {}
    for index, scope in _scopes(selection):
        for source in sources:
            if scope.is_at_exit(source):
                _refuse(source)
        key = (id(scope.catalog), scope.key(sources))
        alike.setdefault(key, (scope, []))[1].append(index)
    return tuple(compile_condition(scope, sources, indices) for scope, indices in alike.values())


def _scopes(selection: GraphSelection) -> list[tuple[int, Scope]]:
    """Of the roots, by their indices."""
    from fsession.lang.ctypes import Catalog
    from fsession.trace.scope import Scope

    catalogs: dict[int, Catalog] = {}
    scopes = []
    for index, node in enumerate(selection.nodes):
        target = node.target
        if not node.depth:
            catalog = catalogs.setdefault(id(target.types), Catalog(target.types))
            signature, is_program = target_signature(target), target.program is not None
            scope = Scope.of(catalog, signature, direct=False, is_program=is_program)
            scopes.append((index, scope))
    return scopes


def _refuse(source: str) -> None:
    error = BadInputError(f"the filter '{source}' is about the end of a call")
    raise error.hint(
        "it decides at the entry of a root whether a tree begins; "
        "about the root's end are --min-duration and --errors"
    )
