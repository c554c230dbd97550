"""BTF that the kernel has: vmlinux, modules, loaded programs."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.btf.catalog import Types
from fsession.errors import NotFoundError, UnsupportedError
from fsession.kernel.handle import get_info, ids, open_id
from fsession.kernel.layout import pack, unpack
from fsession.kernel.syscall import Buffer
from fsession.uapi import Cmd

if TYPE_CHECKING:
    from fsession.host import Fd
    from fsession.kernel.remembered import Remembered

__all__ = ["BtfStore"]

_FOLDER = Path("/sys/kernel/btf")
_NAME_BYTES = 64
_PLACES = "vmlinux-places"


class BtfStore:
    """BTF of the running kernel, each object read when it is first asked for."""

    def __init__(self, remembered: Remembered) -> None:
        self._remembered = remembered
        self._types: dict[str, Types] = {}
        self._fds: dict[str, Fd] = {}
        self._remember = False

    def vmlinux(self) -> Types:
        return self.types("")

    def types(self, module: str) -> Types:
        """Types of vmlinux ("") or a module. Raises `NotFoundError` for a module without BTF."""
        if module not in self._types:
            self._types[module] = self._own() if not module else self._of_module(module)
        return self._types[module]

    def _of_module(self, module: str) -> Types:
        return Types.from_bytes(_read(module), self.types(""), module)

    def _own(self) -> Types:
        types = Types.from_bytes(_read(""), name="vmlinux")
        places = self._remembered.get(_PLACES)
        self._remember = places is None
        if places is not None:
            types.resume(places)
        return types

    def modules(self) -> list[str]:
        """Loaded modules that have BTF."""
        try:
            return sorted(entry.name for entry in _FOLDER.iterdir() if entry.name != "vmlinux")
        except FileNotFoundError:
            return []

    def fd(self, module: str) -> Fd:
        """An open BTF object of a module, kept until `close`."""
        if module not in self._fds:
            self._fds[module] = _open_module(module)
        return self._fds[module]

    def program_types(self, btf_id: int) -> Types:
        """Types of a loaded program, by the ``btf_id`` of its info."""
        fd = open_id(Cmd.BTF_GET_FD_BY_ID, btf_id)
        try:
            size = unpack("bpf_btf_info", _info(fd), "btf_size")[0]
            data = Buffer(size)
            get_info(fd, pack("bpf_btf_info", btf=data.address, btf_size=size), "BTF of a program")
            return Types.from_bytes(bytes(data), name=f"btf {btf_id}")
        finally:
            os.close(fd)

    def close(self) -> None:
        if self._remember:
            self._remembered.put(_PLACES, self._types[""].places())
            self._remember = False
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()


def _read(module: str) -> bytes:
    path = _FOLDER / (module or "vmlinux")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if module:
            raise NotFoundError("module with BTF", module).hint(
                "is it loaded? modprobe it, and see what is there by: ls /sys/kernel/btf"
            ) from None
        raise UnsupportedError("BTF of the kernel (/sys/kernel/btf/vmlinux)", "Linux 5.5").hint(
            "the kernel must be built with CONFIG_DEBUG_INFO_BTF=y"
        ) from None


def _info(fd: Fd, name: Buffer | None = None) -> bytes:
    fields = {"name": name.address, "name_len": name.size} if name else {}
    return get_info(fd, pack("bpf_btf_info", **fields), "BTF info")


def _open_module(module: str) -> Fd:
    for number in ids(Cmd.BTF_GET_NEXT_ID):
        try:
            fd = open_id(Cmd.BTF_GET_FD_BY_ID, number)
        except OSError as error:
            if error.errno == errno.ENOENT:  # gone since it was listed
                continue
            raise
        name = Buffer(_NAME_BYTES)
        in_kernel = unpack("bpf_btf_info", _info(fd, name), "kernel_btf")[0]
        if in_kernel and name.text == module:
            return fd
        os.close(fd)
    raise NotFoundError("module with BTF", module)
