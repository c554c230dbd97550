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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fsession.attach import Attachment
from fsession.errors import BadInputError, FsessionError, NotFoundError
from fsession.kconfig import kconfig_value
from fsession.session.program import ObjectProgram
from fsession.spec import MapValueRef
from fsession.uapi import MapType
from fsession.views import Globals, MapView

if TYPE_CHECKING:
    from types import TracebackType

    from fsession.attach import Prepared
    from fsession.host import Host, Map, Program
    from fsession.spec import MapSpec, ObjectSpec

__all__ = ["Object"]

KCONFIG_MAP = ".kconfig"
PIN_FOLDER = "/sys/fs/bpf"
_NEAR = 3


class _Named(Mapping[str, Any]):
    """A mapping whose error says which names are like the one that is not there."""

    def __init__(self, kind: str, items: dict[str, Any]) -> None:
        self._kind, self._items = kind, items

    def __getitem__(self, name: str) -> Any:
        if name not in self._items:
            from difflib import get_close_matches  # here: only for an error's message

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
        specs = [spec for spec in self.spec.maps if spec.name != KCONFIG_MAP or self._asks_kconfig]
        for spec in specs:
            if spec.name == KCONFIG_MAP:
                self._data[spec.name] = self._kconfig_data(host, spec)
            created = self._create_map(host, spec)
            self._raw[spec.name] = created
            views[spec.name] = MapView(created, spec, self.spec.types)
        self.maps = _Named("map", views)
        for spec in specs:
            self._fill_map(spec)

    @property
    def _asks_kconfig(self) -> bool:
        """Whether a program that is to be loaded needs the kernel's configuration."""
        return any(
            isinstance(reloc, MapValueRef) and reloc.map == KCONFIG_MAP
            for program in self.programs.values()
            if program.autoload
            for reloc in program.spec.relocs
        )

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
