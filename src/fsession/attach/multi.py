"""One program and one link for any number of functions of one BTF object.

The kernel attaches to all of them or to none, and does not say which it refuses. Nearly all that it
refuses are known before (`targets`). For what is left, `_first_refused` uses that the kernel looks
at the ids one after the other before it attaches anything: the ids up to some place, with an id
behind them that fails in another way, are answered by the errno of the first that fails. So a
binary search finds it without attaching, in 1 + log2(n) calls that each take 20 microseconds a
function, a tenth of attaching.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack
from itertools import islice, repeat
from typing import TYPE_CHECKING

from fsession.attach.attachment import Attachment, attach_error
from fsession.attach.native import recursion_misses
from fsession.attach.prepared import Left, Programs
from fsession.btf.types import TypeId
from fsession.errors import InternalError, KernelError
from fsession.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fsession.attach.targets import Refused, Target
    from fsession.host import Host, Link, Map
    from fsession.spec import ProgramSpec

__all__ = ["Multi"]

_REFUSALS = (errno.EINVAL, errno.ENOENT)
_TRIALS = 4
_Wanted = list[tuple["Target", int]]


class Multi(Programs):
    """`spec`, of a multi attach type, loaded for functions of vmlinux or of one module."""

    def __init__(
        self,
        spec: ProgramSpec,
        host: Host,
        maps: Mapping[str, Map],
        targets: Sequence[Target],
        strategy: str,
        refused: Sequence[Refused] = (),
    ) -> None:
        super().__init__(strategy, host)
        if spec.attach_type is None:
            raise InternalError(f"'{spec.name}' has no attach type")
        self._attach_type = spec.attach_type
        self.targets = list(targets)
        self._refused = list(refused)
        request = resolve(spec, host, maps, attach_module=targets[0].module)
        self.programs.append(host.load(request))

    def attach(self, cookie: int = 0, cookies: Sequence[int] | None = None) -> Attachment:
        left = Left(len(self.targets), self._refused)
        attachment = Attachment(self.strategy, [], recursion_misses(self.programs))
        each = cookies or repeat(cookie)
        wanted = list(zip(self.targets, each, strict=False))
        with ExitStack() as stack:
            stack.callback(attachment.close)
            attached = self._attach(attachment, wanted, left)
            stack.pop_all()
        attachment.targets = tuple(target.name for target, _ in attached)
        attachment.refused = tuple(left.refused)
        return attachment

    def _attach(self, attachment: Attachment, wanted: _Wanted, left: Left) -> _Wanted:
        """Attach to all of `wanted` but what the kernel refuses; returns what is attached."""
        wanted = list(wanted)
        while wanted:
            try:
                attachment.add(self._link(wanted))
            except KernelError as error:
                place = self._first_refused(wanted, error.errno)
                if place is None:
                    return self._halve(attachment, wanted, left, error)
                target, _ = wanted.pop(place)
                left.leave_out(target, attach_error(self._host, target, error))
            else:
                break
        return wanted

    def _halve(
        self, attachment: Attachment, wanted: _Wanted, left: Left, error: KernelError
    ) -> _Wanted:
        """What fails only while it is attached (a full trampoline): each half by itself."""
        target = wanted[0][0]
        if error.errno not in (*_REFUSALS, errno.E2BIG):
            if len(wanted) > 1:
                target = target._replace(name=f"{len(wanted)} functions")
            raise attach_error(self._host, target, error) from error
        if len(wanted) == 1:
            left.leave_out(target, attach_error(self._host, target, error))
            return []
        middle = len(wanted) // 2
        first = self._attach(attachment, wanted[:middle], left)
        return first + self._attach(attachment, wanted[middle:], left)

    def _link(self, wanted: _Wanted, *, last: Sequence[int] = ()) -> Link:
        ids = [int(target.btf_id) for target, _ in wanted]
        cookies = [cookie for _, cookie in wanted]
        return self._host.link_multi(
            self.programs[0],
            self._attach_type,
            [*ids, *last],
            [*cookies, *(0 for _ in last)] if any(cookies) else None,
        )

    def _first_refused(self, wanted: _Wanted, number: int) -> int | None:
        """Place of the first function that fails with errno `number`; None if none can be told."""
        if number not in _REFUSALS:
            return None
        if len(wanted) == 1:
            return 0
        stop = TypeId(0) if number == errno.ENOENT else self._id_without_entry(wanted[0][0])
        if stop is None or self._errno_of(wanted, stop) != number:
            return None
        good, bad = 0, len(wanted)
        while bad - good > 1:
            middle = (good + bad) // 2
            if self._errno_of(wanted[:middle], stop) == number:
                bad = middle
            else:
                good = middle
        return good

    def _errno_of(self, wanted: _Wanted, stop: TypeId) -> int:
        """What attaching to `wanted`, and then to an id that can't be attached to, fails with."""
        try:
            self._link(wanted, last=[stop]).close()
        except KernelError as error:
            return error.errno
        return 0

    def _id_without_entry(self, like: Target) -> TypeId | None:
        """A function that fails with ENOENT: no place to patch, and nothing else is wrong."""
        traceable = set(self._host.traceable("*", like.module))
        others = (id for name, id in like.types.functions() if name not in traceable)
        for type_id in islice(others, _TRIALS):
            if self._errno_of([], type_id) == errno.ENOENT:
                return type_id
        return None
