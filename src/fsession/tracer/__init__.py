"""The tracer as a library.

Names are imported when they are first used: a graph needs none of what makes programs of traces.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsession.tracer.selection import Group, Selection, select
    from fsession.tracer.tracer import AT_ONCE, RING_BYTES, Tracer, trace

__all__ = ["AT_ONCE", "RING_BYTES", "Group", "Selection", "Tracer", "select", "trace"]

_OF_SELECTION = ("Group", "Selection", "select")


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first used (PEP 562)."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'fsession.tracer' has no attribute '{name}'")
    module = "selection" if name in _OF_SELECTION else "tracer"
    value = getattr(import_module(f"fsession.tracer.{module}"), name)
    globals()[name] = value
    return value
