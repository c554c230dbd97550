"""Tests of `fsession.session` and the views of maps and variables."""
