"""Objects: what joins reading, loading and attaching."""

from fsession.session.object import Object
from fsession.session.program import ObjectProgram

__all__ = ["Object", "ObjectProgram"]
