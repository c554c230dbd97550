"""Links of the kernel: a program attached, for as long as the link is open or pinned."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.errors import KernelError
from fsession.host import LinkInfo
from fsession.kernel.handle import Handle, get_info, ids, open_id, open_pinned
from fsession.kernel.layout import pack, unpack
from fsession.kernel.syscall import Buffer, bpf, bpf_fd
from fsession.uapi import AttachType, Cmd, LinkType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fsession.host import Program

__all__ = ["KernelLink", "link_by_id", "link_ids", "link_multi", "link_tracing", "pinned_link"]

_EINVAL = 22
_COOKIE = re.compile(r"^cookie:\s+(\d+)$", re.MULTILINE)


class KernelLink(Handle):
    """An open link. Tracing links can't be detached by force: closing the last one detaches."""

    @property
    def id(self) -> int:
        return self.info.id

    @property
    def info(self) -> LinkInfo:
        """`cookie` is what fdinfo shows, 0 on kernels that don't show it."""
        data = get_info(self.fd, pack("bpf_link_info"), "link info")
        kind, number, program = unpack("bpf_link_info", data, "type", "id", "prog_id")
        link = LinkInfo(id=number, type=LinkType(kind), program_id=program)
        if link.type != LinkType.TRACING:
            return link
        names = ("tracing_attach_type", "tracing_target_obj_id", "tracing_target_btf_id")
        attach_type, obj_id, btf_id = unpack("bpf_link_info", data, *names)
        return LinkInfo(
            id=number,
            type=link.type,
            program_id=program,
            attach_type=AttachType(attach_type),
            target_obj_id=obj_id,
            target_btf_id=btf_id,
            cookie=self._cookie(),
        )

    def detach(self) -> None:
        """BPF_LINK_DETACH. A tracing link answers EOPNOTSUPP: close it instead."""
        bpf(Cmd.LINK_DETACH, pack("link_detach", link_fd=self.fd), "detach link")

    def _cookie(self) -> int:
        found = _COOKIE.search(Path(f"/proc/self/fdinfo/{self.fd}").read_text())
        return int(found[1]) if found else 0


def link_tracing(
    program: Program,
    attach_type: AttachType,
    *,
    cookie: int = 0,
    target_program: Program | None = None,
    target_btf_id: int = 0,
) -> KernelLink:
    """Attach a tracing program by BPF_LINK_CREATE (5.10; cookies 5.19), else by the older way."""
    attr = pack(
        "link_create",
        prog_fd=program.fd,
        target_fd=target_program.fd if target_program else 0,
        attach_type=attach_type,
        target_btf_id=target_btf_id,
        tracing_cookie=cookie,
    )
    what = f"attach '{program.name}'"
    try:
        return KernelLink(bpf_fd(Cmd.LINK_CREATE, attr, what))
    except KernelError as error:
        if error.errno != _EINVAL or cookie or target_program:
            raise
        return _open_raw(program, what, error)


def _open_raw(program: Program, what: str, first: KernelError) -> KernelLink:
    """BPF_RAW_TRACEPOINT_OPEN: how tracing programs were attached before 5.10."""
    attr = pack("raw_tracepoint", prog_fd=program.fd)
    try:
        return KernelLink(bpf_fd(Cmd.RAW_TRACEPOINT_OPEN, attr, what))
    except KernelError as error:
        raise (first if error.errno == _EINVAL else error) from None


def link_multi(
    program: Program,
    attach_type: AttachType,
    btf_ids: Sequence[int],
    cookies: Sequence[int] | None = None,
) -> KernelLink:
    """Attach a multi program to all the functions, or to none (Linux 7.2)."""
    id_array = Buffer(b"".join(number.to_bytes(4, "little") for number in btf_ids))
    cookie_array = Buffer(b"".join(cookie.to_bytes(8, "little") for cookie in cookies or ()))
    attr = pack(
        "link_create",
        prog_fd=program.fd,
        attach_type=attach_type,
        tracing_multi_ids=id_array.address,
        tracing_multi_cookies=cookie_array.address if cookies else 0,
        tracing_multi_cnt=len(btf_ids),
    )
    what = f"attach '{program.name}' to {len(btf_ids)} functions"
    return KernelLink(bpf_fd(Cmd.LINK_CREATE, attr, what))


def link_ids() -> Iterator[int]:
    """Ids of all links."""
    return ids(Cmd.LINK_GET_NEXT_ID)


def link_by_id(number: int) -> KernelLink:
    """An open link by its id."""
    return KernelLink(open_id(Cmd.LINK_GET_FD_BY_ID, number))


def pinned_link(path: str) -> KernelLink:
    """An open link by where it is pinned."""
    return KernelLink(open_pinned(path))
