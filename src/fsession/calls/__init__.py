"""Helpers and kernel functions that tracing programs may call: the one table of them."""

from fsession.calls.helpers import HELPERS, find_helper
from fsession.calls.kfuncs import find_kfunc, kfuncs
from fsession.calls.model import (
    Access,
    Arg,
    ArgKind,
    Helper,
    Kfunc,
    KfuncFlag,
    Only,
    Result,
    ResultKind,
)

__all__ = [
    "HELPERS",
    "Access",
    "Arg",
    "ArgKind",
    "Helper",
    "Kfunc",
    "KfuncFlag",
    "Only",
    "Result",
    "ResultKind",
    "find_helper",
    "find_kfunc",
    "kfuncs",
]
