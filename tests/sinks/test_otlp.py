"""Calls as spans and histograms, sent to a receiver that listens on this machine."""

from __future__ import annotations

import json
import socket

import pytest

from fsession.cli.main import run
from fsession.errors import BadInputError, FsessionError
from fsession.sinks import otlp
from fsession.sinks.otlp import BOUNDS_S, OtlpSink
from fsession.trace.event import Summary
from recording.spans import RECORDS, recording, span
from sinks.collector import grpc_collector, http_collector, values
from sinks.graphs import graph

SUMMARY = Summary(9, 4, 1, 1, "native", 1, 1, "H")
COLLECTORS = {"http": http_collector, "grpc": grpc_collector}


def send(calls, endpoint, **options):
    sink = OtlpSink(endpoint, **options)
    sink.begin()
    for call in calls:
        sink.write([call])
    sink.end(SUMMARY)


@pytest.fixture(params=COLLECTORS)
def sent(request, kernel):
    """What a collector got of two trees and a call by itself."""
    with COLLECTORS[request.param]() as (endpoint, received):
        calls = [
            *graph(kernel),
            *graph(kernel, tree=8),
            kernel.call("give", 2**64 - 7, 0, 1, ret=5, prints={"p.a": 7}),
        ]
        send(calls, endpoint)
    return received


def test_a_tree_is_a_trace(sent):
    assert len(sent.spans) == 9
    first = {item.name: item for item in sent.spans[:4]}
    (trace_id,) = {item.trace_id for item in first.values()}
    assert len({item.trace_id for item in sent.spans}) == 3
    assert len({item.span_id for item in sent.spans}) == 9
    parents = {name: item.parent_span_id for name, item in first.items()}
    assert parents == {
        "icmp_rcv": b"",
        "filp_open": first["icmp_rcv"].span_id,
        "tick": first["filp_open"].span_id,
        "drop": first["icmp_rcv"].span_id,
    }
    assert trace_id != bytes(16)


def test_a_span(sent):
    root = sent.spans[3]
    assert root.start_time_unix_nano == 10**18 + 1_000_000
    assert root.end_time_unix_nano - root.start_time_unix_nano == 1000
    assert values(root.attributes) == {
        "code.function.name": "icmp_rcv",
        "process.pid": 1432,
        "thread.id": 1433,
        "thread.name": "ping",
        "cpu.logical_number": 1,
        "fsession.arg.skb": "0xffff8f75c8efd300",
        "fsession.ret": -12,
    }
    assert (root.status.code, root.status.message) == (2, "ENOMEM")
    alone = sent.spans[-1]
    assert (alone.parent_span_id, alone.status.code) == (b"", 0)
    assert values(alone.attributes)["fsession.arg.p"].startswith("{.a=-7,")
    assert values(alone.attributes)["fsession.arg.once"] is True
    assert values(alone.attributes)["fsession.print.p.a"] == 7


def test_histograms(sent):
    histogram = sent.metrics["fsession.call.duration"]
    assert histogram.unit == "s"
    points = {
        values(point.attributes)["code.function.name"]: point
        for point in histogram.histogram.data_points
    }
    point = points["icmp_rcv"]
    assert (point.count, point.sum, point.min, point.max) == (2, 2e-6, 1e-6, 1e-6)
    assert list(point.explicit_bounds) == list(BOUNDS_S)
    (bucket,) = [at for at, number in enumerate(point.bucket_counts) if number]
    assert BOUNDS_S[bucket - 1] < 1e-6 <= BOUNDS_S[bucket]


def test_losses_are_told(sent):
    counts = {name: sent.metrics[f"fsession.{name}"] for name in ("calls", "lost", "missed")}
    assert [metric.sum.data_points[0].as_int for metric in counts.values()] == [9, 4, 1]


def test_resources(sent):
    assert all(resource["service.name"] == "fsession" for resource in sent.resources)
    assert all(resource["host.name"] == socket.gethostname() for resource in sent.resources)


def test_many_are_sent_in_parts(kernel, monkeypatch):
    monkeypatch.setattr(otlp, "_SPANS", 3)
    with http_collector() as (endpoint, received):
        send([kernel.call("tick")] * 8, endpoint)
    assert len(received.spans) == 8
    assert len(received.resources) == 4  # three requests with spans, one with metrics


def test_spans_that_were_not_taken_are_counted(kernel):
    lost = pytest.raises(FsessionError, match="did not take 5 of 5 spans and the histograms")
    with http_collector(status=400) as (endpoint, _), lost:
        send([kernel.call("tick")] * 5, endpoint)


@pytest.mark.parametrize("endpoint", ["localhost:4317", "ftp://x", "http://", ""])
def test_no_endpoint(endpoint):
    with pytest.raises(BadInputError, match="no endpoint"):
        OtlpSink(endpoint)


def test_a_recording_is_sent(kernel, tmp_path, capfd):
    path = tmp_path / "trace.fsr"
    path.write_bytes(recording(kernel, span(*RECORDS)))
    with http_collector() as (endpoint, received):
        assert run(["replay", str(path), "--otlp", endpoint]) == 0
        seen = capfd.readouterr()
        assert (seen.out, len(received.spans)) == ("", len(RECORDS))
        assert "8 calls · 1 lost" in seen.err
        assert "host.name" not in received.resources[0]
        assert run(["replay", str(path), "--otlp", endpoint, "--format", "json"]) == 0
        lines = capfd.readouterr().out.splitlines()
    assert json.loads(lines[-1])["type"] == "summary"
    assert len(received.spans) == 2 * len(RECORDS)
