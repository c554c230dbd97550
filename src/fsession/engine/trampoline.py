"""Trampolines: a target's lists of programs, and the image that is made anew for every change.

The entry of a target with programs is a jump to its stub, code that stays. The stub counts the call
in and goes on where a word of memory says: to the image of the moment. So a change is one store,
seen by all threads at once. An old image is freed when every thread has been seen outside of all
images since: the count is the thread's own, and a barrier in all threads comes before it is read.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING

from fsession.engine.jit.code import place, write_code
from fsession.engine.jit.plan import Node, Plan
from fsession.engine.memory import Block, peek, poke
from fsession.engine.native import architecture, images
from fsession.engine.threads import GONE, INSIDE, threads
from fsession.engine.unwind import watch
from fsession.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.btf.model import FuncModel
    from fsession.engine.jit.code import Image

__all__ = [
    "FENTRY",
    "FEXIT",
    "FMOD_RET",
    "Attached",
    "Graveyard",
    "Trampoline",
    "standing_at",
]

FENTRY, FMOD_RET, FEXIT = "fentry", "fmod_ret", "fexit"
MOST_NODES = {"x86_64": 36, "aarch64": 37}  # BPF_MAX_TRAMP_LINKS of Linux 7.2
PAGE_BYTES = 4096


class Graveyard:
    """Old images, until no thread can be inside.

    They are numbered as they come. Of each thread's block the number is kept that was the last when
    the thread was seen outside: it is in none of the images up to that one.
    """

    def __init__(self) -> None:
        self._waiting: deque[Image] = deque()
        self._last = self._last_swept = 0
        self._outside: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, image: Image) -> None:
        """Of an image that no call enters any more."""
        self._waiting.append(image)
        self._last += 1
        self.sweep()

    def sweep(self) -> None:
        """Free what nobody is inside of any more."""
        if not self._waiting or not threads().barrier():
            return  # without barriers nothing says when a thread has left
        for block in threads().blocks():
            if not peek(block + INSIDE) or peek(block + GONE):
                self._outside[block] = self._last
            else:  # a block that was not there the last time is of a thread that came later
                self._outside.setdefault(block, self._last_swept)
        self._last_swept = self._last
        left = self._last - min(self._outside.values(), default=self._last)
        while len(self._waiting) > left:
            self._waiting.popleft().close()


class Attached:
    """One link's place on a target: its program and the word that switches its blocks off."""

    def __init__(self, program: int, kinds: tuple[str, ...], node: Node, enabled: Block) -> None:
        self.program, self.kinds, self.node, self.enabled = program, kinds, node, enabled


_alive: dict[int, Trampoline] = {}
"""Those whose code can be reached, whatever becomes of their machine, by their entries."""


def standing_at(entry: int) -> Trampoline | None:
    """The trampoline that the entry jumps to, in use or left there by a machine that is gone."""
    return _alive.get(entry)


class Trampoline:
    """Of one target: `entry` is its patchable place, whose bytes are `original`."""

    def __init__(
        self, name: str, entry: int, original: bytes, model: FuncModel, graveyard: Graveyard
    ) -> None:
        self.name, self.entry, self.model = name, entry, model
        self.vectors = True
        self._original, self._graveyard = original, graveyard
        self._attached: list[Attached] = []
        self._image: Image | None = None
        self._stub: Image | None = None
        self._slot = Block(8)
        self.extended = False
        self.alone: Callable[[], bool] | None = None  # asked before the entry is changed
        self._redirected = False

    @property
    def body(self) -> int:
        return self.entry + len(self._original)

    @property
    def original(self) -> bytes:
        """What is at the entry when nothing was ever attached."""
        return self._original

    def offset(self, address: int) -> int | None:
        """Of a place in the image of the moment."""
        image = self._image
        inside = image is not None and image.address <= address < image.end
        return address - image.address if image is not None and inside else None

    def take_over(self, model: FuncModel, graveyard: Graveyard) -> bool:
        """For another machine; False if somebody uses it."""
        if not self._attached:
            self.model, self._graveyard = model, graveyard
        return not self._attached

    @property
    def node_count(self) -> int:
        return sum(len(attached.kinds) for attached in self._attached)

    def attach(self, attached: Attached) -> None:
        """Put a link's nodes at the head of their lists. Raises the kernel's errnos."""
        what = f"attach to '{self.name}'"
        if self.extended or any(other.program == attached.program for other in self._attached):
            raise KernelError(what, errno.EBUSY)
        most = MOST_NODES.get(os.uname().machine, 38)
        if self.node_count + (len(attached.kinds) > 1) >= most:
            raise KernelError(what, errno.E2BIG)
        if not self._attached:
            self._check_entry(what)
        self._attached.insert(0, attached)
        try:
            self._update(what)
        except BaseException:
            self._attached.remove(attached)
            raise

    def detach(self, attached: Attached) -> None:
        """Never fails: the link's blocks are switched off in all images that still run."""
        poke(attached.enabled.address, 8, 0)
        self._attached.remove(attached)
        self._update(f"detach from '{self.name}'")

    def close(self) -> None:
        for attached in list(self._attached):
            self.detach(attached)

    def _check_entry(self, what: str) -> None:
        if self._redirected:
            return
        if self.alone and not self.alone():
            raise KernelError(what, errno.EBUSY).hint(
                f"the entry of '{self.name}' can only be changed while there is one thread"
            )
        have = bytes(peek(self.entry + at, 1) for at in range(len(self._original)))
        if have != self._original:
            raise KernelError(what, errno.EBUSY).hint(
                f"the entry of '{self.name}' has {have.hex()}: someone else changed it"
            )

    def _update(self, what: str) -> None:
        old = self._image
        if not self._attached:
            poke(self._slot.address, 8, self._to_body)
            if self.alone is None:
                write_code(self.entry, self._original[: architecture().ENTRY_BYTES])
                self._redirected = False
                _alive.pop(self.entry, None)
            self._image = None
        else:
            first = old is None
            self._image = self._make(what)
            poke(self._slot.address, 8, self._image.address)
            if first and not self._redirected:
                self._redirect()
        if old is not None:
            self._graveyard.add(old)

    def _make(self, what: str) -> Image:
        if self._stub is None:
            self._make_stub()
        nodes = {
            kind: tuple(each.node for each in self._attached if kind in each.kinds)
            for kind in (FENTRY, FMOD_RET, FEXIT)
        }
        plan = Plan(
            self.model,
            self.entry,
            self.body,
            self._leave,
            self._to_body,
            threads().offset,
            nodes[FENTRY],
            nodes[FMOD_RET],
            nodes[FEXIT],
            ip_arg=any(each.node.uses_ip for each in self._attached),
            vectors=self.vectors,
        )
        code = images().image(plan)
        if len(code) > PAGE_BYTES:
            raise KernelError(what, errno.E2BIG)
        image = place(code)
        image.holds = tuple(self._attached)
        watch(image, images().unwind_rules(plan))
        return image

    def _make_stub(self) -> None:
        arch = images()
        stub = arch.stub(threads().offset, threads().start.address, self._slot.address, self.body)
        self._stub = place(stub.data, near=self.entry, reach=arch.REACH)
        self._leave = self._stub.address + stub.leave
        self._to_body = self._stub.address + stub.to_body

    def _redirect(self) -> None:
        assert self._stub is not None
        self._redirected = True
        _alive[self.entry] = self
        write_code(self.entry, images().entry_jump(self.entry, self._stub.address))
