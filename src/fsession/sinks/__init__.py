"""Output formats of a trace: text for people, JSON for programs."""

from fsession.sinks.base import Sink
from fsession.sinks.text import TextSink, count, summary_line

__all__ = ["Sink", "TextSink", "count", "summary_line"]
