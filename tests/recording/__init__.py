"""Tests of `fsession.recording`."""
