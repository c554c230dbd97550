"""The programs of a file, each judged by the rules of a kernel series; nothing is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fsession.btf.catalog import Types
from fsession.errors import BadInputError, FsessionError, VerifierError
from fsession.frozen import frozen
from fsession.paper import PaperHost
from fsession.session.object import Object
from fsession.verify import limits

if TYPE_CHECKING:
    from fsession.host import Host
    from fsession.spec import ObjectSpec

__all__ = ["Verdict", "verdicts"]

_VMLINUX = "/sys/kernel/btf/vmlinux"


@frozen
class Verdict:
    """On one program: what `verify.Report` says, of all its forms (halves of a split session).

    `source` is the line where it failed. `kernel` is what the running kernel said, "" where it
    took it, None where it was not asked; `kernel_insns` how many instructions it walked then.
    """

    program: str
    accepted: bool
    message: str
    insns: int
    advice: str = ""
    source: str = ""
    explanation: str = ""
    log: str = ""
    kernel: str | None = None
    kernel_insns: int = 0


def verdicts(
    file: str,
    series: str,
    btf: str | None = None,
    *,
    against: Host | None = None,
    level: int = 0,
) -> list[Verdict]:
    """Judge each program of `file` by the rules of `series`, with the kernel's types in `btf`.

    `against` is a host that is asked as well. `level` 1 or 2: with a log.
    """
    limits(series)
    types = _types(btf or _VMLINUX)
    spec = _read(file, PaperHost(types, series))
    return [_judge(spec, item.name, types, series, against, level) for item in spec.programs]


def _types(path: str) -> Types:
    try:
        return Types.from_bytes(Path(path).read_bytes(), name="vmlinux")
    except OSError as error:
        raise BadInputError(f"can't read '{path}': {error.strerror}").hint(
            "--btf FILE names the BTF of the kernel that the programs are for"
        ) from error


def _read(file: str, host: Host) -> ObjectSpec:
    if not file.endswith(".py"):
        return Object.open(file).spec
    from fsession.session.python import PythonObject

    return PythonObject.open(file).compile(host).spec


def _judge(
    spec: ObjectSpec, name: str, types: Types, series: str, against: Host | None, level: int
) -> Verdict:
    host = PaperHost(types, series, log_level=level)
    failure, _ = _load(spec, name, host)
    reports = host.reports
    refused = next((report for report in reports if not report.accepted), None)
    message = refused.message if refused is not None else failure
    kernel, kernel_insns = (None, 0) if against is None else _load(spec, name, against)
    return Verdict(
        name,
        accepted=not message and bool(reports),
        message=message or ("" if reports else "its section names no target, so it was not loaded"),
        insns=sum(report.insns for report in reports),
        advice=refused.advice if refused is not None else "",
        source=refused.source if refused is not None else "",
        explanation=refused.explanation if refused is not None else "",
        log="\n".join(report.log for report in reports if report.log),
        kernel=kernel,
        kernel_insns=kernel_insns,
    )


def _load(spec: ObjectSpec, name: str, host: Host) -> tuple[str, int]:
    """Load one program of an object; why it was refused, "" if it was not, and how many
    instructions were walked."""
    obj = Object(spec)
    for program in obj.programs.values():
        program.autoload = program.name == name
    try:
        with obj:
            obj.load(host)
            loaded = [program for program in obj.programs.values() if program.is_loaded]
            return "", sum(program.info.verified_insns for program in loaded)
    except VerifierError as error:
        return error.summary, 0
    except FsessionError as error:
        return str(error), 0
