"""Traced calls: the records on the wire, the programs that write them, events, values."""

from fsession.trace.body import COUNTS_MAP, RING_MAP, Wanted
from fsession.trace.decode import Decoder
from fsession.trace.event import Call, Function, Place, Summary
from fsession.trace.fields import Field, Form
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
from fsession.trace.record import Counts, Layout
from fsession.trace.signature import Failure, Parameter, Shape, Shapes, Signature, signature

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
