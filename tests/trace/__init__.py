"""Tests of `fsession.trace`."""
