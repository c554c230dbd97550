"""Calls to an OpenTelemetry Collector: each a span, below that of the call that made it; durations
as a histogram for each function.

A tree of calls is a trace of OpenTelemetry. The ids of its spans follow from their places in the
tree, so a span can be sent before its parent, which ends later. What the environment says
(``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_SERVICE_NAME``, ``OTEL_EXPORTER_OTLP_HEADERS``) holds.

Needs the package `opentelemetry-exporter-otlp`, an extra (``fsession[otlp]``).
"""

from __future__ import annotations

import logging
import secrets
import socket
import time
from bisect import bisect_left
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from fsession.errors import BadInputError, FsessionError
from fsession.sinks.base import error_of
from fsession.trace.values import Named, Pointer, Value, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.event import Call, Summary

__all__ = ["BOUNDS_S", "OtlpSink"]

BOUNDS_S = tuple(2**power / 1e9 for power in range(8, 36))
"""Upper bounds of the histogram's buckets, in seconds: 256 ns to 34 s, each twice the last."""

_SCOPE = InstrumentationScope("fsession")
_SPANS = 512  # in a request
_METRICS_EVERY_S = 10.0
_TIMEOUT_S = 5.0
_U64 = (1 << 64) - 1
_S64_MAX = (1 << 63) - 1
_FUNCTION = "code.function.name"


class OtlpSink:
    """Sends to `endpoint`: ``http://HOST:4318`` (HTTP), ``grpc://HOST:4317``; https, grpcs: TLS.

    `live`: the calls happen on this machine. Raises `FsessionError` at the end if spans could not
    be sent: how many is counted, and tracing goes on.
    """

    def __init__(self, endpoint: str, *, live: bool = True) -> None:
        self._endpoint = endpoint
        self._to_spans, self._to_metrics = _exporters(endpoint)
        here = {"host.name": socket.gethostname()} if live else {}
        self._resource = Resource.create({"service.name": "fsession", **here})
        self._run = secrets.randbits(64) | 1
        self._alone = count(1 << 39)  # trees of one call, beside those that are numbered
        self._durations: dict[str, Durations] = {}
        self._waiting: list[ReadableSpan] = []
        self._sent = self._failed = 0
        self._began_ns = time.time_ns()
        self._told_s = time.monotonic()

    def begin(self) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # failures are counted here

    def write(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self._waiting.append(self._span(call))
            durations = self._durations.get(call.label)
            if durations is None:
                durations = self._durations[call.label] = Durations()
            durations.add(call.duration_ns)
            if len(self._waiting) >= _SPANS:
                self._send()
        now = time.monotonic()
        if now - self._told_s >= _METRICS_EVERY_S:
            self._told_s = now
            self._send()
            self._tell(self._histograms())

    def end(self, summary: Summary) -> None:
        self._send()
        counts = [
            self._count(f"fsession.{name}", getattr(summary, name))
            for name in ("calls", "lost", "missed")
        ]
        told = self._tell([*self._histograms(), *counts])
        self._to_spans.shutdown()
        self._to_metrics.shutdown()
        if self._failed or not told:
            what = f"{self._failed} of {self._failed + self._sent} spans" if self._failed else ""
            missing = " and ".join(filter(None, [what, "" if told else "the histograms"]))
            failed = FsessionError(f"'{self._endpoint}' did not take {missing}")
            raise failed.hint("is an OpenTelemetry Collector listening there?")

    def _send(self) -> None:
        spans, self._waiting = self._waiting, []
        if spans and self._to_spans.export(spans) is SpanExportResult.SUCCESS:
            self._sent += len(spans)
        else:
            self._failed += len(spans)

    def _span(self, call: Call) -> ReadableSpan:
        place = call.place
        tree = place.tree if place else next(self._alone)
        error = error_of(call.ret)
        return ReadableSpan(
            call.label,
            self._context(tree, place.order if place else 0),
            self._context(tree, place.parent) if place and place.parent >= 0 else None,
            self._resource,
            _attributes(call),
            status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET),
            start_time=call.wall_ns,
            end_time=call.wall_ns + call.duration_ns,
            instrumentation_scope=_SCOPE,
        )

    def _context(self, tree: int, order: int) -> SpanContext:
        """Of the call with that number in that tree; the same whenever it is asked for."""
        trace_id = self._run << 64 | tree & _U64
        span_id = (self._run + (tree << 24) + order) & _U64 or 1
        return SpanContext(trace_id, span_id, False, TraceFlags(TraceFlags.SAMPLED))

    def _histograms(self) -> list[Metric]:
        points = [
            durations.point(label, self._began_ns) for label, durations in self._durations.items()
        ]
        if not points:
            return []
        data = Histogram(points, AggregationTemporality.CUMULATIVE)
        return [Metric("fsession.call.duration", "From entry to exit", "s", data)]

    def _count(self, name: str, value: int) -> Metric:
        point = NumberDataPoint({}, self._began_ns, time.time_ns(), value)
        data = Sum([point], AggregationTemporality.CUMULATIVE, is_monotonic=True)
        return Metric(name, None, "{call}", data)

    def _tell(self, metrics: list[Metric]) -> bool:
        scope = ScopeMetrics(_SCOPE, metrics, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        return bool(self._to_metrics.export(data) is MetricExportResult.SUCCESS)


class Durations:
    """Of one function, by the buckets of `BOUNDS_S`."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum = self._most = 0
        self._least = _U64

    def add(self, duration_ns: int) -> None:
        self._counts[bisect_left(BOUNDS_S, duration_ns / 1e9)] += 1
        self._sum += duration_ns
        self._least = min(self._least, duration_ns)
        self._most = max(self._most, duration_ns)

    def point(self, label: str, began_ns: int) -> HistogramDataPoint:
        return HistogramDataPoint(
            {_FUNCTION: label},
            began_ns,
            time.time_ns(),
            sum(self._counts),
            self._sum / 1e9,
            tuple(self._counts),
            BOUNDS_S,
            self._least / 1e9,
            self._most / 1e9,
        )


def _exporters(endpoint: str) -> tuple[Any, Any]:
    """Of spans and of metrics."""
    parts = urlsplit(endpoint)
    if not parts.hostname or parts.scheme not in ("http", "https", "grpc", "grpcs"):
        error = BadInputError(f"'{endpoint}' is no endpoint")
        raise error.hint("write http://HOST:4318 or grpc://HOST:4317 (https, grpcs: with TLS)")
    if parts.scheme.startswith("http"):
        base = endpoint.rstrip("/")
        return (
            OTLPSpanExporter(f"{base}/v1/traces", timeout=_TIMEOUT_S),
            OTLPMetricExporter(f"{base}/v1/metrics", timeout=_TIMEOUT_S),
        )
    from opentelemetry.exporter.otlp.proto.grpc import metric_exporter, trace_exporter

    to, plain = parts.netloc, parts.scheme == "grpc"
    return (
        trace_exporter.OTLPSpanExporter(to, insecure=plain, timeout=_TIMEOUT_S),
        metric_exporter.OTLPMetricExporter(to, insecure=plain, timeout=_TIMEOUT_S),
    )


def _attributes(call: Call) -> dict[str, str | int | bool]:
    """By the semantic conventions where there are any, else below ``fsession``."""
    out: dict[str, str | int | bool] = {
        _FUNCTION: call.label,
        "process.pid": call.pid,
        "thread.id": call.tid,
        "thread.name": call.comm,
        "cpu.logical_number": call.cpu,
        **{f"fsession.arg.{name}": _attribute(value) for name, value in call.args.items()},
    }
    for name, value in call.prints.items():
        out[f"fsession.print.{name}"] = _attribute(value)
    if not call.is_void:
        out["fsession.ret"] = _attribute(call.ret)
    return out


def _attribute(value: Value) -> str | int | bool:
    """Numbers and texts as they are, if they fit; all else as the trace shows it."""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, Pointer)):
        is_plain = not isinstance(value, Named) and (isinstance(value, str) or value <= _S64_MAX)
        return value if is_plain else text(value)
    return text(value)
