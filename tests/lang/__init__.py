"""Tests of programs in Python and of expressions in C."""
