"""Traced calls: the records on the wire, the programs that write them, events, values.

What makes programs is imported when it is first used: to read records, or a graph's, needs no
compiler.
"""

from typing import TYPE_CHECKING, Any

from fsession.trace.decode import Decoder
from fsession.trace.event import Call, Function, Place, Summary
from fsession.trace.fields import Field, Form
from fsession.trace.record import Counts, Layout
from fsession.trace.signature import Failure, Parameter, Shape, Shapes, Signature, signature

if TYPE_CHECKING:
    from fsession.trace.body import COUNTS_MAP, RING_MAP, Wanted
    from fsession.trace.filters import Filters
    from fsession.trace.program import (
        SAVED_ENTRIES,
        Templates,
        attach_cookie,
        function_program,
        map_specs,
        multi_layout,
        multi_program,
        with_fields,
    )

__all__ = [
    "COUNTS_MAP",
    "RING_MAP",
    "SAVED_ENTRIES",
    "Call",
    "Counts",
    "Decoder",
    "Failure",
    "Field",
    "Filters",
    "Form",
    "Function",
    "Layout",
    "Parameter",
    "Place",
    "Shape",
    "Shapes",
    "Signature",
    "Summary",
    "Templates",
    "Wanted",
    "attach_cookie",
    "function_program",
    "map_specs",
    "multi_layout",
    "multi_program",
    "signature",
    "with_fields",
]

_PLACES = {"COUNTS_MAP": "body", "RING_MAP": "body", "Wanted": "body", "Filters": "filters"}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first used (PEP 562)."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'fsession.trace' has no attribute '{name}'")
    value = getattr(import_module(f"fsession.trace.{_PLACES.get(name, 'program')}"), name)
    globals()[name] = value
    return value
