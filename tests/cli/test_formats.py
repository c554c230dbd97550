"""The place where commands write their calls."""

from __future__ import annotations

import os
import sys

import pytest

from fsession.cli.formats import FORMATS, Output, outputs
from fsession.errors import BadInputError, UnsupportedError
from fsession.sinks import TextSink
from fsession.trace.event import Summary

SUMMARY = Summary(1, 0, 0, 1, "native", 1, 1, "H")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_writes_a_file(kernel, kind, tmp_path):
    path = tmp_path / "out"
    with outputs(Output(kind, str(path)), TextSink) as (sink, _):
        sink.begin()
        sink.write([kernel.call("icmp_rcv", 1)])
        sink.end(SUMMARY)
    assert b"icmp_rcv" in path.read_bytes()


@pytest.mark.parametrize("kind", [kind for kind, form in FORMATS.items() if form.extra])
def test_a_missing_extra_is_named(kind, tmp_path, monkeypatch):
    form = FORMATS[kind]
    monkeypatch.delitem(sys.modules, f"fsession.sinks.{form.module}", raising=False)
    package = {"arrow": "pyarrow"}.get(form.extra, form.extra)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    out = outputs(Output(kind, str(tmp_path / "out")), TextSink)
    with pytest.raises(UnsupportedError, match=f"--format {kind}.*{package}") as caught, out:
        pass
    assert f"fsession[{form.extra}]" in caught.value.__notes__[0]


def test_a_missing_extra_of_otlp_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "fsession.sinks.otlp", raising=False)
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    out = outputs(Output(None, None, "http://127.0.0.1:1"), TextSink)
    with pytest.raises(UnsupportedError, match=r"--otlp.*opentelemetry") as caught, out:
        pass
    assert "fsession[otlp]" in caught.value.__notes__[0]


@pytest.mark.parametrize("kind", [kind for kind, form in FORMATS.items() if form.binary])
def test_bytes_are_not_for_terminals(kind, monkeypatch):
    ours, theirs = os.openpty()
    with (
        os.fdopen(ours, "rb"),
        os.fdopen(theirs, "w") as terminal,
        monkeypatch.context() as patch,
    ):
        patch.setattr(sys, "stdout", terminal)
        with (
            pytest.raises(BadInputError, match="not for terminals"),
            outputs(Output(kind, None), TextSink),
        ):
            pass
