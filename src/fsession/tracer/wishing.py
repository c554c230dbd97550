"""What the caller of `fsession.trace` says, as wishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from fsession.errors import BadInputError
from fsession.trace import Filters
from fsession.tracer.wants import Wishes

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WishOptions", "wishes_of"]

COMM_MAX = 15  # TASK_COMM_LEN less the NUL


class WishOptions(TypedDict, total=False):
    """The options of `wishes_of`, for those who hand them on."""

    pid: int | None
    tid: int | None
    comm: str | None
    cpu: int | Sequence[int]
    cgroup: str | int | None
    netns: str | int | None
    min_duration_ns: int
    errors: bool
    sample: int
    filter: str | Sequence[str]
    print: str | Sequence[str]
    stack: bool
    ustack: bool
    objects: bool
    expand: bool


def wishes_of(
    *,
    pid: int | None = None,
    tid: int | None = None,
    comm: str | None = None,
    cpu: int | Sequence[int] = (),
    cgroup: str | int | None = None,
    netns: str | int | None = None,
    min_duration_ns: int = 0,
    errors: bool = False,
    sample: int = 1,
    filter: str | Sequence[str] = (),
    print: str | Sequence[str] = (),
    stack: bool = False,
    ustack: bool = False,
    objects: bool = False,
    expand: bool = False,
) -> Wishes:
    """Raises `BadInputError` for what can't be."""
    conditions = _texts(filter)
    if sample < 1:
        raise BadInputError(f"one call of {sample}")
    if netns is not None:
        from fsession.kernel.groups import network_namespace

        conditions = (f"__netns == {network_namespace(netns)}", *conditions)
    filters = Filters(
        pid,
        _comm(comm),
        min_duration_ns,
        errors,
        tid,
        (cpu,) if isinstance(cpu, int) else tuple(cpu),
        _cgroup(cgroup),
        conditions,
        sample,
    )
    stacks = ("kstack",) * stack + ("ustack",) * ustack
    return Wishes(filters, (*_texts(print), *stacks), objects, expand)


def _texts(words: str | Sequence[str]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words)


def _cgroup(name: str | int | None) -> tuple[int, int] | None:
    if name is None:
        return None
    from fsession.kernel.groups import cgroup

    return cgroup(name)


def _comm(comm: str | None) -> bytes | None:
    raw = None if comm is None else comm.encode()
    if raw is not None and not 0 < len(raw) <= COMM_MAX:
        error = BadInputError(f"no thread can have the name '{comm}'")
        raise error.hint(
            f"names of threads have 1 to {COMM_MAX} bytes: the kernel cuts longer ones"
        )
    return raw
