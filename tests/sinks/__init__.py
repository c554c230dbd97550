"""Tests of `fsession.sinks`."""
