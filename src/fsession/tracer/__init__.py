"""The tracer as a library."""

from fsession.tracer.selection import Group, Selection, select
from fsession.tracer.tracer import AT_ONCE, RING_BYTES, Tracer, trace

__all__ = ["AT_ONCE", "RING_BYTES", "Group", "Selection", "Tracer", "select", "trace"]
