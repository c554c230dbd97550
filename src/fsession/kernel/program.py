"""Programs of the kernel: load, run for a test, ask for information."""

from __future__ import annotations

import errno
import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.errors import KernelError, VerifierError
from fsession.host import Fd, ProgramInfo, TestResult
from fsession.isa.insn import SLOT_BYTES, encode
from fsession.isa.opcode import POISON
from fsession.kernel.attr import FIELDS
from fsession.kernel.btf_load import StringTable, encode_funcs, encode_lines, load_btf
from fsession.kernel.handle import Handle, get_info, ids, open_id, open_pinned
from fsession.kernel.layout import pack, unpack
from fsession.kernel.names import object_name
from fsession.kernel.syscall import Buffer, bpf, bpf_fd
from fsession.uapi import Cmd, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.host import LoadRequest
    from fsession.isa.insn import Insn

__all__ = ["KernelProgram", "load_program", "pinned_program", "program_by_id", "program_ids"]

_SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE, a #define and so in no BTF
_LOG_LEVEL = 1
_LOG_BYTES, _MOST_LOG_BYTES = 1 << 16, 1 << 26
_INFO_NAMES = (
    "type",
    "id",
    "run_cnt",
    "run_time_ns",
    "recursion_misses",
    "verified_insns",
    "btf_id",
    "nr_map_ids",
)
_FUNC_INFO = struct.Struct("<II")  # offset of the instruction, type id
_ADDRESS = struct.Struct("<Q")
_POISON_CALL = rf"^(\d+): \(85\) call unknown#{POISON}"
_FDINFO = r"^(\w+):\s+(\d+)$"


class KernelProgram(Handle):
    """A loaded program; `name` is the name it was given, its kernel name has 15 bytes of it."""

    def __init__(self, fd: Fd, name: str = "") -> None:
        super().__init__(fd)
        info = get_info(fd, pack("bpf_prog_info"), "program info")
        kind, self._id = unpack("bpf_prog_info", info, "type", "id")
        self._type = ProgType(kind)
        self._name = name or _text_field(info, "name")

    @property
    def name(self) -> str:
        return self._name

    @property
    def id(self) -> int:
        return self._id

    @property
    def type(self) -> ProgType:
        return self._type

    @property
    def info(self) -> ProgramInfo:
        """Counters are 0 unless statistics are on (sysctl ``kernel.bpf_stats_enabled``), but
        `recursion_misses` always counts (5.12)."""
        data = get_info(self.fd, pack("bpf_prog_info"), f"info of program '{self.name}'")
        kind, number, runs, time_ns, misses, verified, btf_id, maps = unpack(
            "bpf_prog_info", data, *_INFO_NAMES
        )
        return ProgramInfo(
            id=number,
            name=self._name,
            type=ProgType(kind),
            tag=_bytes_field(data, "tag").hex(),
            run_cnt=runs,
            run_time_ns=time_ns,
            recursion_misses=misses,
            verified_insns=verified,
            btf_id=btf_id,
            map_ids=self._map_ids(maps),
        )

    @property
    def function_ids(self) -> tuple[int, ...]:
        """The program's functions, main first, as ids in its BTF (``struct bpf_func_info``)."""
        info = get_info(self.fd, pack("bpf_prog_info"), f"info of program '{self.name}'")
        (count,) = unpack("bpf_prog_info", info, "nr_func_info")
        if not count:
            return ()
        out = Buffer(count * _FUNC_INFO.size)
        request = pack(
            "bpf_prog_info",
            nr_func_info=count,
            func_info_rec_size=_FUNC_INFO.size,
            func_info=out.address,
        )
        get_info(self.fd, request, f"functions of program '{self.name}'")
        return tuple(type_id for _, type_id in _FUNC_INFO.iter_unpack(bytes(out)))

    @property
    def code(self) -> tuple[int, ...]:
        """Addresses of its functions' machine code, main first; empty without CAP_SYSLOG."""
        info = get_info(self.fd, pack("bpf_prog_info"), f"info of program '{self.name}'")
        (count,) = unpack("bpf_prog_info", info, "nr_jited_ksyms")
        if not count:
            return ()
        out = Buffer(count * _ADDRESS.size)
        request = pack("bpf_prog_info", nr_jited_ksyms=count, jited_ksyms=out.address)
        get_info(self.fd, request, f"code of program '{self.name}'")
        addresses = tuple(address for (address,) in _ADDRESS.iter_unpack(bytes(out)))
        return addresses if all(addresses) else ()

    @property
    def fdinfo(self) -> dict[str, int]:
        """Numbers that ``/proc/self/fdinfo`` shows of the program."""
        text = Path(f"/proc/self/fdinfo/{self.fd}").read_text()
        return {name: int(value) for name, value in re.findall(_FDINFO, text, re.MULTILINE)}

    def xlated(self) -> bytes:
        """The bytecode as the verifier left it; empty without the privilege to see it."""
        length = unpack(
            "bpf_prog_info",
            get_info(self.fd, pack("bpf_prog_info"), "program info"),
            "xlated_prog_len",
        )[0]
        if not length:
            return b""
        out = Buffer(length)
        request = pack("bpf_prog_info", xlated_prog_len=length, xlated_prog_insns=out.address)
        get_info(self.fd, request, f"instructions of program '{self.name}'")
        return bytes(out)

    def test_run(self, *, data: bytes = b"", ctx: bytes = b"", repeat: int = 1) -> TestResult:
        """BPF_PROG_TEST_RUN. A tracing program runs by a call of the kernel's test functions
        (``bpf_fentry_test1`` and others), where it must be attached to be seen."""
        data_in, ctx_in = Buffer(data), Buffer(ctx)
        data_out = Buffer(len(data) + 256 if data else 0)
        attr = pack(
            "test",
            prog_fd=self.fd,
            data_in=data_in.address if data else 0,
            data_size_in=len(data),
            data_out=data_out.address if data else 0,
            data_size_out=data_out.size,
            ctx_in=ctx_in.address if ctx else 0,
            ctx_size_in=len(ctx),
            repeat=repeat if data else 0,
        )
        bpf(Cmd.PROG_TEST_RUN, attr, f"test run of '{self.name}'")
        retval, time_ns, size = unpack("test", attr, "retval", "duration", "data_size_out")
        return TestResult(retval, time_ns, bytes(data_out)[:size], bytes(ctx_in))

    def _map_ids(self, count: int) -> tuple[int, ...]:
        if not count:
            return ()
        out = Buffer(count * 4)
        request = pack("bpf_prog_info", nr_map_ids=count, map_ids=out.address)
        get_info(self.fd, request, f"maps of program '{self.name}'")
        raw = bytes(out)
        return tuple(int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4))


def load_program(request: LoadRequest, target_btf: Fd | None = None) -> KernelProgram:
    """BPF_PROG_LOAD. `target_btf` is the BTF object of `attach_btf_id`, None for vmlinux.

    Asks without a log first, and once more with one where that is refused. Where the kernel does
    not take the program's BTF, it is loaded without: its logs then show no source.
    """
    btf, infos, keep = _program_btf(request)
    try:
        return _load(request, {**_attributes(request, target_btf), **infos}, keep)
    finally:
        if btf is not None:
            os.close(btf)


def _program_btf(request: LoadRequest) -> tuple[Fd | None, dict[str, int], list[Buffer]]:
    """The program's BTF in the kernel, and the attributes for its func and line infos."""
    if request.types is None or not request.funcs:
        return None, {}, []
    strings = StringTable(request.types.data)
    funcs = Buffer(encode_funcs(request.funcs))
    lines = Buffer(encode_lines(request.lines, strings))
    try:
        fd = load_btf(strings.to_bytes(), f"program '{request.name}'")
    except KernelError as error:
        if error.errno == errno.EPERM:
            raise
        return None, {}, []
    infos = {
        "prog_btf_fd": int(fd),
        "func_info_rec_size": 8,
        "func_info": funcs.address,
        "func_info_cnt": len(request.funcs),
    }
    if request.lines:
        infos |= {
            "line_info_rec_size": 16,
            "line_info": lines.address,
            "line_info_cnt": len(request.lines),
        }
    return fd, infos, [funcs, lines]


def _attributes(request: LoadRequest, target_btf: Fd | None) -> dict[str, int | bytes]:
    values: dict[str, int | bytes] = {
        "prog_type": request.type,
        "insn_cnt": len(_encoded(request.insns)) // SLOT_BYTES,
        "kern_version": request.version,
        "prog_flags": _SLEEPABLE if request.sleepable else 0,
        "prog_name": object_name(request.name),
        "expected_attach_type": request.attach_type or 0,
        "attach_btf_id": request.attach_btf_id,
    }
    if request.attach_program is not None:
        values["attach_prog_fd"] = request.attach_program.fd
    elif target_btf is not None:
        values["attach_btf_obj_fd"] = target_btf
    return values


def _load(
    request: LoadRequest, values: dict[str, int | bytes], keep: list[Buffer]
) -> KernelProgram:
    insns, licence = Buffer(_encoded(request.insns)), Buffer(request.license.encode() + b"\0")
    fds = Buffer(b"".join(int(fd).to_bytes(4, "little") for fd in request.fd_array))
    values = values | {"insns": insns.address, "license": licence.address}
    if request.fd_array:
        values["fd_array"] = fds.address
    what = f"load program '{request.name}'"
    try:
        fd = bpf_fd(Cmd.PROG_LOAD, pack("prog_load", **values), what)
    except KernelError as error:
        fd = _load_with_log(request, values, what, error)
    del keep
    return KernelProgram(fd, request.name)


_MOST_ENCODED = 64
_encoded_before: dict[int, tuple[tuple[Insn, ...], bytes]] = {}


def _encoded(insns: tuple[Insn, ...]) -> bytes:
    """Their bytes. The same tuples are loaded for one function after another, those of an entry and
    of an exit in turn: encoded once each."""
    known = _encoded_before.get(id(insns))
    if known is None:
        if len(_encoded_before) >= _MOST_ENCODED:
            _encoded_before.clear()
        known = _encoded_before[id(insns)] = (insns, encode(insns))  # kept: its id stays its own
    return known[1]


def _load_with_log(
    request: LoadRequest, values: dict[str, int | bytes], what: str, first: KernelError
) -> Fd:
    """Load again for the verifier's words; the buffer grows until the log fits."""
    size = _LOG_BYTES
    while True:
        log = Buffer(size)
        attr = pack("prog_load", **values, log_level=_LOG_LEVEL, log_buf=log.address, log_size=size)
        try:
            return bpf_fd(Cmd.PROG_LOAD, attr, what)
        except KernelError as error:
            if error.errno == errno.ENOSPC and size < _MOST_LOG_BYTES:
                size *= 4
                continue
            if error.errno in (errno.EPERM, errno.EBADF, errno.ENOMEM) and not log.text:
                raise first from None
            from fsession.kernel.verifier_log import telling_lines  # here: only when refused

            summary, lines = telling_lines(log.text)
            failure = VerifierError(request.name, error.errno, log.text, summary, lines)
            for reason in _reached_poison(request, log.text):
                failure.add_note(reason)
            raise failure from None


def _reached_poison(request: LoadRequest, log: str) -> list[str]:
    """Why the place where verification stopped must not be reached, if it is such a place."""
    places = [int(number) for number in re.findall(_POISON_CALL, log, re.MULTILINE)]
    return [
        f"instruction {at} is reached, but {reason}; guard it by an existence check"
        for at, reason in request.poison
        if at in places
    ]


def program_ids() -> Iterator[int]:
    """Ids of all loaded programs."""
    return ids(Cmd.PROG_GET_NEXT_ID)


def program_by_id(number: int) -> KernelProgram:
    """An open program by its id."""
    return KernelProgram(open_id(Cmd.PROG_GET_FD_BY_ID, number))


def pinned_program(path: str) -> KernelProgram:
    """An open program by where it is pinned."""
    return KernelProgram(open_pinned(path))


def _bytes_field(info: bytes, name: str) -> bytes:
    offset, size = FIELDS["bpf_prog_info"][name]
    return info[offset : offset + size]


def _text_field(info: bytes, name: str) -> str:
    return _bytes_field(info, name).split(b"\0", 1)[0].decode()
