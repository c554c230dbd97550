"""`Object`: the programs, maps and variables of one object file, from reading it to detaching.

    with Object.open("prog.bpf.o") as obj:
        obj.programs["debug_only"].autoload = False
        obj.globals["threshold"] = 5
        with obj.load(), obj.attach():
            ...
        print(obj.maps["hits"][0])

Opening only reads. Loading asks a host: maps are created, programs verified in the form that they
will be attached in. Everything that is open is closed by the object; nothing stays in the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fsession.attach import (
    Attachment,
    Prepared,
    find_targets,
    is_pattern,
    prepare,
    prepare_many,
    program_target,
)
from fsession.errors import BadInputError, FsessionError, NotFoundError
from fsession.kconfig import kconfig_value
from fsession.resolve import resolve
from fsession.uapi import AttachType, MapType
from fsession.views import Globals, MapView

if TYPE_CHECKING:
    from types import TracebackType

    from fsession.host import Host, Map, Program, ProgramInfo, TestResult
    from fsession.spec import MapSpec, ObjectSpec, ProgramSpec

__all__ = ["Object", "ObjectProgram"]

KCONFIG_MAP = ".kconfig"
PIN_FOLDER = "/sys/fs/bpf"
_NEAR = 3
_SINGLE = (
    AttachType.TRACE_FSESSION,
    AttachType.TRACE_FENTRY,
    AttachType.TRACE_FEXIT,
    AttachType.MODIFY_RETURN,
)
_ENTRY_ONLY = (AttachType.TRACE_FENTRY, AttachType.TRACE_FENTRY_MULTI)
_MULTI = (
    AttachType.TRACE_FSESSION_MULTI,
    AttachType.TRACE_FENTRY_MULTI,
    AttachType.TRACE_FEXIT_MULTI,
)


class _Named(Mapping[str, Any]):
    """A mapping whose error says which names are like the one that is not there."""

    def __init__(self, kind: str, items: dict[str, Any]) -> None:
        self._kind, self._items = kind, items

    def __getitem__(self, name: str) -> Any:
        if name not in self._items:
            near = tuple(get_close_matches(name, self._items, _NEAR))
            raise NotFoundError(self._kind, name, near)
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, name: object) -> bool:
        return name in self._items


class Object:
    """An object file, open; see the module's head.

    `programs`, `maps` and `globals` are mappings by name. `maps` are there once it is loaded.
    """

    def __init__(self, spec: ObjectSpec) -> None:
        self.spec = spec
        self.host: Host | None = None
        self._own_host = False
        self._stack = ExitStack()
        self._raw: dict[str, Map] = {}
        self._data = {
            item.name: bytearray(item.data) for item in spec.maps if item.data is not None
        }
        self.programs: Mapping[str, ObjectProgram] = _Named(
            "program", {item.name: ObjectProgram(self, item) for item in spec.programs}
        )
        self.maps: Mapping[str, MapView] = _Named("map", {})
        self.globals = Globals(
            {item.name: item for item in spec.variables},
            spec.types,
            self._data,
            self._raw.get,
            frozenset(item.name for item in spec.maps if item.frozen),
        )

    @classmethod
    def open(cls, source: str | Path | bytes, name: str = "") -> Object:
        """Read an ELF object: a path, or its bytes. A ``.c`` file is compiled first."""
        from fsession.obj import read_object

        if isinstance(source, bytes):
            return cls(read_object(source, name or "object"))
        path = Path(source)
        if path.suffix == ".c":
            return cls(read_object(_compile(path), name or path.name.split(".")[0]))
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"can't read '{path}': {error.strerror}") from error
        return cls(read_object(data, name or path.name.split(".")[0]))

    @property
    def loaded(self) -> bool:
        return self.host is not None

    def load(self, host: Host | None = None) -> Self:
        """Create the maps and load the programs; on the running kernel if `host` is None.

        Raises what the host says (`VerifierError`, `UnsupportedError`, …); nothing is left then.
        """
        if self.loaded:
            raise FsessionError(f"object '{self.spec.name}' is loaded already")
        with ExitStack() as stack:
            self._stack = stack
            self.host = host or stack.enter_context(_kernel())
            try:
                self._create_maps()
                for program in self.programs.values():
                    if program.autoload:
                        program.load()
                self._fill_program_arrays()
            except BaseException:
                self._forget()
                raise
            self._stack = stack.pop_all()
        return self

    def attach(self, strategy: str = "auto") -> Attachment:
        """Attach every loaded program by its section. Closing the result detaches all."""
        attachments: list[Attachment] = []
        whole = Attachment(strategy, [], lambda: sum(part.missed for part in attachments))
        try:
            for program in self.programs.values():
                if program.is_loaded and program.attaches_by_itself:
                    part = program.attach(strategy=strategy)
                    whole.on_close(part.close)
                    whole.links += part.links
                    attachments.append(part)
        except BaseException:
            whole.close()
            raise
        whole.targets = tuple(name for part in attachments for name in part.targets)
        whole.refused = tuple(item for part in attachments for item in part.refused)
        if attachments:
            whole.strategy = attachments[0].strategy
        return whole

    def close(self) -> None:
        self._stack.close()
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def raw_maps(self) -> Mapping[str, Map]:
        """The created maps, of bytes, by name."""
        return self._raw

    def require_host(self) -> Host:
        if self.host is None:
            raise FsessionError(f"object '{self.spec.name}' is not loaded").hint(
                "call load() first"
            )
        return self.host

    def own(self, thing: Attachment | Prepared | Program) -> None:
        """Close `thing` with the object."""
        self._stack.callback(thing.close)

    def _forget(self) -> None:
        self.host = None
        self._raw.clear()
        self.maps = _Named("map", {})
        for program in self.programs.values():
            program.forget()

    def _create_maps(self) -> None:
        host = self.require_host()
        views = {}
        for spec in self.spec.maps:
            if spec.name == KCONFIG_MAP:
                self._data[spec.name] = self._kconfig_data(host, spec)
            created = self._create_map(host, spec)
            self._raw[spec.name] = created
            views[spec.name] = MapView(created, spec, self.spec.types)
        self.maps = _Named("map", views)
        for spec in self.spec.maps:
            self._fill_map(spec)

    def _create_map(self, host: Host, spec: MapSpec) -> Map:
        if spec.pinned_by_name:
            pinned = host.open_pinned_map(f"{PIN_FOLDER}/{spec.name}")
            if pinned is not None:
                self._stack.callback(pinned.close)
                return _checked(pinned, spec)
        with ExitStack() as stack:
            inner = stack.enter_context(host.create_map(spec.inner)) if spec.inner else None
            created = host.create_map(spec, self.spec.types, inner)
        self._stack.callback(created.close)
        if spec.pinned_by_name:
            created.pin(f"{PIN_FOLDER}/{spec.name}")
        return created

    def _fill_map(self, spec: MapSpec) -> None:
        """Initial data of variables, inner maps of a map of maps; constants are frozen."""
        created = self._raw[spec.name]
        if spec.name in self._data:
            created.update(bytes(4), bytes(self._data[spec.name]))
        if spec.frozen:
            created.freeze()
        if spec.type in (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS):
            for key, value in spec.entries:
                assert isinstance(value, str)
                created.update(key, int(self._raw[value].fd).to_bytes(4, "little"))

    def _fill_program_arrays(self) -> None:
        for spec in self.spec.maps:
            if spec.type != MapType.PROG_ARRAY:
                continue
            for key, value in spec.entries:
                assert isinstance(value, str)
                program = self.programs[value]
                if program.is_loaded:
                    fd = program.program.fd
                    self._raw[spec.name].update(key, int(fd).to_bytes(4, "little"))

    def _kconfig_data(self, host: Host, spec: MapSpec) -> bytearray:
        data, types = bytearray(spec.value_size), self.spec.types
        assert types is not None  # kconfig externs are found by the object's BTF
        for variable in self.spec.kconfig:
            weak = variable.name in self.spec.weak_kconfig
            value = kconfig_value(host, types, variable, weak=weak)
            data[variable.offset : variable.offset + len(value)] = value
        return data


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
        if self._default is None:
            raise FsessionError(f"program '{self.name}' is not loaded").hint(
                "load() loads the programs whose autoload is True and whose section has a target"
            )
        return self._prepared[self._default].programs[0]

    @property
    def strategy(self) -> str:
        """How the program was loaded: native, multi, split; "" for one that is no session."""
        return self._prepared[self._default].strategy if self._default else ""

    @property
    def info(self) -> ProgramInfo:
        return self.program.info

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
        prepared = self._prepared.get((name, strategy))
        if prepared is None:
            prepared = self._load_for(host, wanted, strategy)
            self._owner.own(prepared)
            self._prepared[name, strategy] = prepared
        return prepared

    def _load_for(self, host: Host, wanted: str | Program, strategy: str) -> Prepared:
        maps, kind = self._owner.raw_maps, self.spec.attach_type
        if not isinstance(wanted, str):
            return prepare(self.spec, host, maps, program_target(host, wanted), strategy)
        found = find_targets(host, [wanted], exit_side=kind not in _ENTRY_ONLY)
        if kind in _MULTI:
            return prepare_many(
                self.spec, host, maps, found.targets, strategy, refused=found.refused
            )
        if is_pattern(wanted):
            raise BadInputError(f"program '{self.name}' takes one function, not '{wanted}'").hint(
                'for many functions: SEC("fsession.multi/PATTERN")'
            )
        return prepare(self.spec, host, maps, found.targets[0], strategy)


def _kernel() -> Host:
    from fsession.kernel import KernelHost

    return KernelHost()


def _compile(path: Path) -> bytes:
    import os

    from fsession.obj.compile import compile_c

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fsession"
    with _kernel() as host:
        arch = {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        return compile_c(path, types=host.types(), arch=arch, cache_dir=cache)


def _checked(pinned: Map, spec: MapSpec) -> Map:
    """A pinned map is taken over if it is what the object would create."""
    have = (pinned.type, pinned.key_size, pinned.value_size, pinned.max_entries)
    want = (spec.type, spec.key_size, spec.value_size, spec.max_entries)
    if have != want:
        raise BadInputError(
            f"the map pinned as {PIN_FOLDER}/{spec.name} differs from the object's: {have}"
        ).hint("remove the pinned one, or give the map another name")
    return pinned
