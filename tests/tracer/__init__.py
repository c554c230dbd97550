"""Tests of `fsession.tracer`."""
