"""Tests of `fsession.isa`."""
