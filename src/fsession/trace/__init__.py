"""Traced calls: the records on the wire, the programs that write them, events, values."""

from fsession.trace.body import COUNTS_MAP, RING_MAP, Filters
from fsession.trace.decode import Decoder
from fsession.trace.event import Call, Function, Place, Summary
from fsession.trace.program import (
    attach_cookie,
    function_program,
    map_specs,
    multi_layout,
    multi_program,
)
from fsession.trace.record import Counts, Layout
from fsession.trace.signature import Failure, Parameter, Shape, Shapes, Signature, signature

__all__ = [
    "COUNTS_MAP",
    "RING_MAP",
    "Call",
    "Counts",
    "Decoder",
    "Failure",
    "Filters",
    "Function",
    "Layout",
    "Parameter",
    "Place",
    "Shape",
    "Shapes",
    "Signature",
    "Summary",
    "attach_cookie",
    "function_program",
    "map_specs",
    "multi_layout",
    "multi_program",
    "signature",
]
