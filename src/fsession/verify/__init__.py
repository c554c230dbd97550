"""The verifier in user space: a program in, a verdict out. See docs/verify.md."""

from fsession.verify.limits import NEWEST, SERIES, limits
from fsession.verify.report import Report
from fsession.verify.subject import Subject
from fsession.verify.verify import verify

__all__ = ["NEWEST", "SERIES", "Report", "Subject", "limits", "verify"]
