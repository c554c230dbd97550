"""What is shown of the arguments of a graph's calls: well-known objects, whole structs."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from fsession.errors import UnsupportedError
from fsession.frozen import frozen
from fsession.tracer.graph_filters import scopes

if TYPE_CHECKING:
    from fsession.trace import Field
    from fsession.trace.graph_code import Part
    from fsession.trace.scope import Scope
    from fsession.tracer.graph_selection import GraphSelection

__all__ = ["GraphValues", "graph_values"]

_MOST_PARTS = 240
"""The kernel takes 256 functions in a program."""


@frozen
class GraphValues:
    """`parts` send them, `fields` are in each function's notes, by its index."""

    parts: tuple[Part, ...] = ()
    fields: dict[int, tuple[Field, ...]] = field(default_factory=dict)


def graph_values(selection: GraphSelection, *, objects: bool, expand: bool) -> GraphValues:
    """Functions with the same arguments share a part of the program."""
    if not objects and not expand:
        return GraphValues()
    from fsession.trace.expressions import describe_objects, describe_structs  # with pycparser
    from fsession.trace.graph_values import compile_values

    alike: dict[object, tuple[Scope, tuple[Field, ...], list[int]]] = {}
    for index, scope in scopes(enumerate(selection.nodes)):
        key = (id(scope.catalog), scope.key(scope.pointers))
        if key not in alike:
            shown = describe_objects(scope) if objects else []
            shown += describe_structs(scope) if expand else []
            alike[key] = (scope, tuple(shown), [])
        alike[key][2].append(index)
    kinds = [one for one in alike.values() if one[1]]
    if len(kinds) > _MOST_PARTS:
        what = f"values of arguments of {len(kinds)} kinds of functions in one graph"
        raise UnsupportedError(what, f"at most {_MOST_PARTS}").hint(
            "--depth, --include or --exclude make it smaller"
        )
    parts = tuple(compile_values(*one) for one in kinds)
    fields = {index: fields for _, fields, indices in kinds for index in indices}
    return GraphValues(parts, fields)
