"""A program of an object: loaded for its targets, attached, run for a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.attach import (
    Attachment,
    Prepared,
    find_targets,
    is_pattern,
    prepare,
    prepare_many,
    program_target,
)
from fsession.errors import BadInputError, FsessionError
from fsession.resolve import resolve
from fsession.uapi import AttachType

if TYPE_CHECKING:
    from fsession.host import Fd, Host, Program, ProgramInfo, TestResult
    from fsession.session.object import Object
    from fsession.spec import ProgramSpec

__all__ = ["ObjectProgram"]

_SINGLE = (
    AttachType.TRACE_FSESSION,
    AttachType.TRACE_FENTRY,
    AttachType.TRACE_FEXIT,
    AttachType.MODIFY_RETURN,
)
_SESSIONS = (AttachType.TRACE_FSESSION, AttachType.TRACE_FSESSION_MULTI)
_ENTRY_ONLY = (AttachType.TRACE_FENTRY, AttachType.TRACE_FENTRY_MULTI)
_MULTI = (
    AttachType.TRACE_FSESSION_MULTI,
    AttachType.TRACE_FENTRY_MULTI,
    AttachType.TRACE_FEXIT_MULTI,
)


class ObjectProgram:
    """A program of an object. Set `autoload` before the object is loaded to leave it out."""

    def __init__(self, owner: Object, spec: ProgramSpec) -> None:
        self.spec = spec
        self.autoload = spec.autoload
        self._owner = owner
        self._prepared: dict[tuple[str, str], Prepared] = {}
        self._program: Program | None = None
        self._default: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def is_loaded(self) -> bool:
        return self._program is not None or self._default is not None

    @property
    def attaches_by_itself(self) -> bool:
        """The section names a target, so `Object.attach` knows what to do."""
        return bool(self.spec.target) and self.spec.attach_type in (*_SINGLE, *_MULTI)

    @property
    def program(self) -> Program:
        """The program in the kernel; of a split session the entry half."""
        if self._program is not None:
            return self._program
        if self._default is None:  # no target in the section: the form it was last attached in
            for prepared in reversed(self._prepared.values()):
                return prepared.programs[0]
            raise FsessionError(f"program '{self.name}' is not loaded").hint(
                "load() loads the programs whose autoload is True and whose section has a target"
            )
        return self._prepared[self._default].programs[0]

    @property
    def strategy(self) -> str:
        """How the program was loaded: native, multi, split; "" for one that is no session."""
        return self._prepared[self._default].strategy if self._default else ""

    @property
    def fd(self) -> Fd:
        """Of `program`, for a prog array's value and the like."""
        return self.program.fd

    @property
    def info(self) -> ProgramInfo:
        return self.program.info

    def pin(self, path: str) -> None:
        """Keep `program` in the kernel under `path`, in a BPF file system (``/sys/fs/bpf``)."""
        self.program.pin(path)

    def test_run(self, *, data: bytes = b"", ctx: bytes = b"", repeat: int = 1) -> TestResult:
        """``BPF_PROG_TEST_RUN``. For a tracing program the kernel calls its test functions,
        ``bpf_fentry_test1`` and others: attach to them to see the program run. Of a split
        session, the entry half is what is run: with both attached, both run."""
        return self.program.test_run(data=data, ctx=ctx, repeat=repeat)

    def load(self) -> None:
        """Load for the target that the section names, in the form that `auto` takes. A program
        whose section names none is loaded when it is attached."""
        host = self._owner.require_host()
        kind = self.spec.attach_type
        if kind in (*_SINGLE, *_MULTI):
            if self.spec.target:
                self._prepare(self.spec.target, "auto")
                self._default = (self.spec.target, "auto")
            return
        request = resolve(self.spec, host, self._owner.raw_maps)
        self._program = host.load(request)
        self._owner.own(self._program)

    def attach(
        self,
        target: str | Program | None = None,
        *,
        strategy: str = "auto",
        cookie: int = 0,
    ) -> Attachment:
        """Attach to `target`, by default the section's: a function, ``module:function``, a glob for
        multi sections, or a loaded BPF program. `cookie` is what ``bpf_get_attach_cookie`` gives.

        Raises `AttachError` with the reason; a program attached twice to one function is one.
        """
        if self.spec.attach_type not in (*_SINGLE, *_MULTI):
            raise FsessionError(
                f"program '{self.name}' (section '{self.spec.section}') is not attached by us"
            ).hint("fentry, fexit, fmod_ret and fsession programs are; others can be test_run")
        wanted = target if target is not None else self.spec.target
        if not wanted:
            raise FsessionError(f"program '{self.name}' has no target").hint(
                "name one: attach('icmp_rcv'), or in the section: SEC(\"fsession/icmp_rcv\")"
            )
        attachment = self._prepare(wanted, strategy).attach(cookie)
        self._owner.own(attachment)
        return attachment

    def forget(self) -> None:
        self._prepared.clear()
        self._program = self._default = None

    def _prepare(self, wanted: str | Program, strategy: str) -> Prepared:
        """The program loaded for a target by a strategy, once for each pair."""
        host = self._owner.require_host()
        name = wanted if isinstance(wanted, str) else f"prog:{wanted.id}"
        if self.spec.attach_type not in _SESSIONS:
            strategy = "auto"  # there is no other
        prepared = self._prepared.get((name, strategy))
        if prepared is None:
            prepared = self._load_for(host, wanted, strategy)
            self._owner.own(prepared)
            self._prepared[name, strategy] = prepared
            self._prepared.setdefault((name, prepared.strategy), prepared)
        return prepared

    def _load_for(self, host: Host, wanted: str | Program, strategy: str) -> Prepared:
        maps, kind = self._owner.raw_maps, self.spec.attach_type
        if not isinstance(wanted, str):
            return prepare(self.spec, host, maps, program_target(host, wanted), strategy)
        found = find_targets(host, [wanted], exit_side=kind not in _ENTRY_ONLY)
        for target in found.targets:  # prog:… was opened for us; every loading of ours needs it
            if target.program is not None:
                self._owner.own(target.program)
        if kind in _MULTI:
            return prepare_many(
                self.spec, host, maps, found.targets, strategy, refused=found.refused
            )
        if is_pattern(wanted):
            raise BadInputError(f"program '{self.name}' takes one function, not '{wanted}'").hint(
                'for many functions: SEC("fsession.multi/PATTERN")'
            )
        return prepare(self.spec, host, maps, found.targets[0], strategy)
