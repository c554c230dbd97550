"""Output formats of a trace: text for people, JSON for programs."""

from fsession.sinks.base import Sink
from fsession.sinks.text import TextSink, summary_line

__all__ = ["Sink", "TextSink", "summary_line"]
