"""Tests of `fsession.cli`."""
