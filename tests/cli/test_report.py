"""Errors as a user reads them."""

from __future__ import annotations

import errno
import io

import click
import pytest

from fsession.cli.report import exit_status, report
from fsession.errors import (
    AttachError,
    BadInputError,
    InternalError,
    KernelError,
    NotFoundError,
    UnsupportedError,
    VerifierError,
)

LOG = "0: (79) r1 = *(u64 *)(r6 +0)\nR6 invalid mem access 'scalar'\nprocessed 1 insns\n"
REFUSED = VerifierError(
    "p", errno.EACCES, LOG, "invalid access", ("5: r1 = *r6", "6: exit", "7: x")
)
REFUSED_EINVAL = VerifierError("p", errno.EINVAL, LOG, "invalid access", ("5: r1 = *r6", "6: exit"))

ERRORS = [
    (
        "not found",
        NotFoundError("function", "icmp_rvc", ("icmp_rcv",)),
        2,
        ["fsession: no function named 'icmp_rvc'; did you mean icmp_rcv?"],
    ),
    (
        "hint",
        BadInputError("no").hint("write yes"),
        2,
        ["fsession: no", "  write yes"],
    ),
    (
        "unsupported",
        UnsupportedError("a session", "Linux 7.0"),
        77,
        [
            "fsession: a session is not supported here (Linux 7.0)",
            "  fsession features shows what this host can do",
        ],
    ),
    (
        "attach",
        AttachError("x", "it never returns"),
        2,
        ["fsession: can't attach to 'x': it never returns"],
    ),
    (
        "attach refused",
        AttachError("x", "no links left", errno.E2BIG),
        1,
        ["fsession: can't attach to 'x': no links left"],
    ),
    (
        "privilege",
        KernelError("load program 'x'", errno.EPERM),
        77,
        [
            "fsession: load program 'x': EPERM (Operation not permitted)",
            "  run it as root (CAP_BPF and CAP_PERFMON), or in a guest: fsession vm -- fsession …",
        ],
    ),
    (
        "verifier",
        REFUSED_EINVAL,
        1,
        [
            "fsession: program 'p' was refused: invalid access (EINVAL)",
            "  5: r1 = *r6",
            "  -v shows the whole log of the verifier",
        ],
    ),
    (
        "file",
        FileNotFoundError(2, "No such file or directory", "a.o"),
        1,
        ["fsession: a.o: No such file or directory"],
    ),
    (
        "full disk",
        OSError(errno.ENOSPC, "No space left on device"),
        1,
        [
            "fsession: No space left on device",
            "  what was to be written is not whole: make room, or write to another disk",
        ],
    ),
    ("click", click.UsageError("no such option"), 2, ["fsession: no such option"]),
    (
        "bug",
        InternalError("jump to nowhere"),
        1,
        ["fsession: jump to nowhere", "  this is a bug of fsession: please report it"],
    ),
]


@pytest.mark.parametrize(
    ("error", "status", "lines"), [row[1:] for row in ERRORS], ids=[r[0] for r in ERRORS]
)
def test_error(error, status, lines, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    out = io.StringIO()
    report(error, to=out)
    assert out.getvalue().splitlines() == lines
    assert exit_status(error) == status


def test_root_is_not_told_to_be_root(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    out = io.StringIO()
    report(KernelError("load", errno.EPERM), to=out)
    assert "root may not either" in out.getvalue()


def test_three_lines_at_most():
    out = io.StringIO()
    report(REFUSED, to=out)
    assert len(out.getvalue().splitlines()) == 3


def test_verbose_has_the_whole_log():
    out = io.StringIO()
    report(REFUSED, verbose=True, to=out)
    assert out.getvalue().startswith(LOG)


def test_a_refused_program_is_no_lack_of_privilege():
    assert exit_status(REFUSED) == 1
