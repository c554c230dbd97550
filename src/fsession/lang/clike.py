"""The IR as text like C: for ``fsession compile --c-like``.

It says exactly what the program computes: words are ``u64``, casts show widths and signs, and what
C leaves open (division by 0, shifts by 64 and more) is written out. Ways are `if`, `for (;;)`,
`break` and `continue` where they nest so, else `goto`. Each piece follows its source line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.lang.cwords import Words
from fsession.lang.graph import dominators, reverse_postorder
from fsession.lang.ir import Block, Branch, Jump, Label, Place, Return, Slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fsession.lang.ir import End, Function, Value

__all__ = ["show_c"]

INDENT = "    "


def show_c(function: Function) -> str:
    """A function after all passes.

    >>> print(show_c(function))
    u64 double(u64 v0)
    {
        return v0 * 2;
    }
    """
    return _Text(function).run()


class _Around:
    """What is around a place: where control goes by itself, by `break`, by `continue`."""

    def __init__(
        self, follow: Label | None, leave: Label | None = None, again: Label | None = None
    ) -> None:
        self.follow, self.leave, self.again = follow, leave, again


class _Text:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.order = reverse_postorder(function)
        self.words = Words(function)
        self.above = dominators(function)
        self.number = {label: at for at, label in enumerate(self.order)}
        self.before = function.predecessors()
        self.lines: list[str] = []
        self.labels: set[Label] = set()
        self.deferred: set[Label] = set()
        self.started: set[Label] = set()
        self._said: Place | None = None

    def run(self) -> str:
        function = self.function
        params = ", ".join(f"u64 v{value}" for value in function.params) or "void"
        self._tree(function.entry, _Around(None), 1)
        body = self.lines
        for label in self.labels:
            body[body.index(f"%{label}")] = f"b{label}:;"
        body = [line for line in body if not line.startswith("%")]
        return "\n".join([f"u64 {function.name}({params})", "{", *self._declared(), *body, "}"])

    def _declared(self) -> Iterable[str]:
        used = {op.slot for op in self.function.ops() if isinstance(op, Slot)}
        for number, slot in enumerate(self.function.slots):
            if number in used:
                yield f"{INDENT}char s{number}[{slot.size}];"
        params = [value for block in self.function.blocks.values() for value in block.params]
        names = [f"v{value}" for value in (*params, *self.words.named)]
        if names:
            yield f"{INDENT}u64 {', '.join(names)};"

    # -- blocks ----------------------------------------------------------------------------------

    def _tree(self, label: Label, around: _Around, depth: int) -> None:
        """A block and all that it dominates: what several ways come to stands behind it."""
        self.started.add(label)
        if not self._is_head(label):
            self._with_merges(label, around, depth)
            return
        behind = self._behind(label)
        self.deferred |= set(behind)
        self._add(depth, "for (;;) {")
        self._label(label)
        leave = behind[0] if behind else None
        self._with_merges(label, _Around(label, leave, label), depth + 1)
        self._add(depth, "}")
        self._chain(behind, around, depth)

    def _with_merges(self, label: Label, around: _Around, depth: int) -> None:
        merges = [
            other for other in self._children(label)
            if self._is_merge(other) and other not in self.deferred
        ]  # fmt: skip
        self.deferred |= set(merges)
        follow = merges[0] if merges else around.follow
        self._block(label, _Around(follow, around.leave, around.again), depth)
        self._chain(merges, around, depth)

    def _chain(self, labels: list[Label], around: _Around, depth: int) -> None:
        """Blocks that stand one behind the other."""
        for at, label in enumerate(labels, 1):
            follow = labels[at] if at < len(labels) else around.follow
            self._label(label)
            self._tree(label, _Around(follow, around.leave, around.again), depth)

    def _block(self, label: Label, around: _Around, depth: int) -> None:
        block = self.function.blocks[label]
        for op in block.ops:
            text = self.words.statement(op)
            if text:
                self._source(op.at, depth)
                self._add(depth, text)
        assert block.end is not None
        self._end(block.end, around, depth)

    def _end(self, end: End, around: _Around, depth: int) -> None:
        match end:
            case Return(args=(value,)):
                self._source(end.at, depth)
                self._add(depth, f"return {self.words.value(value)};")
            case Jump(target=target, args=args):
                self._fill(self.function.blocks[target], args, depth)
                self._go(target, around, depth)
            case Branch(then=then, other=other):
                self._source(end.at, depth)
                self._branch(end, then, other, around, depth)

    def _branch(self, end: Branch, then: Label, other: Label, around: _Around, depth: int) -> None:
        inverted = end.test.inverted
        test = self.words.test(end)
        if then == around.follow and inverted is not None:
            test, then, other = self.words.test(end, inverted), other, then
        self._add(depth, f"if ({test}) {{")
        self._go(then, around, depth + 1)
        if other == around.follow:
            self._add(depth, "}")
            return
        if self._ends(depth + 1):
            self._add(depth, "}")
            self._go(other, around, depth)
            return
        self._add(depth, "} else {")
        self._go(other, around, depth + 1)
        self._add(depth, "}")

    def _ends(self, depth: int) -> bool:
        """Whether the last line at this depth leaves."""
        last = self.lines[-1]
        words = ("return", "break;", "continue;", "goto")
        return last.startswith(INDENT * depth) and last.strip().startswith(words)

    def _go(self, target: Label, around: _Around, depth: int) -> None:
        if target == around.follow:
            return
        if target == around.again:
            self._add(depth, "continue;")
        elif target == around.leave:
            self._add(depth, "break;")
        elif target in self.deferred or self._is_merge(target) or target in self.started:
            self.labels.add(target)
            self._add(depth, f"goto b{target};")
        else:
            self._tree(target, around, depth)

    def _fill(self, block: Block, args: tuple[Value, ...], depth: int) -> None:
        """All at once: with words in between where one is read after it is written."""
        pairs = [(param, value) for param, value in zip(block.params, args, strict=True)]
        pairs = [(param, value) for param, value in pairs if param != value]
        written: set[Value] = set()
        clash = False
        for param, value in pairs:
            clash |= bool(self.words.read_by(value) & written)
            written.add(param)
        names = [f"t{param}" if clash else f"v{param}" for param, _ in pairs]
        for name, (_, value) in zip(names, pairs, strict=True):
            self._add(depth, f"{'u64 ' * clash}{name} = {self.words.value(value)};")
        if clash:
            for name, (param, _) in zip(names, pairs, strict=True):
                self._add(depth, f"v{param} = {name};")

    # -- the graph -------------------------------------------------------------------------------

    def _is_head(self, label: Label) -> bool:
        return any(label in self.above.get(other, ()) for other in self.before[label])

    def _is_merge(self, label: Label) -> bool:
        """Whether several ways come to it, those of loops back not counted."""
        ways = [other for other in self.before[label] if label not in self.above.get(other, ())]
        return len(ways) > 1

    def _children(self, label: Label) -> list[Label]:
        """Blocks that it dominates with none in between, those outside of its loop last."""
        return [
            other for other in self.order
            if other != label and label in self.above[other] and self._above(other) == label
        ]  # fmt: skip

    def _above(self, label: Label) -> Label:
        """The last of the blocks that are on every way to it."""
        others = self.above[label] - {label}
        return max(others, key=lambda other: len(self.above[other]))

    def _loop(self, head: Label) -> set[Label]:
        found = {head}
        waiting = [other for other in self.before[head] if head in self.above.get(other, ())]
        while waiting:
            label = waiting.pop()
            if label not in found:
                found.add(label)
                waiting += self.before[label]
        return found

    def _behind(self, head: Label) -> list[Label]:
        """What stands behind a loop: blocks that several ways out of it come to; where there are
        none, the last that it goes to."""
        inside = self._loop(head)
        below = [
            other for label in self.order if label in inside for other in self._children(label)
        ]
        outside = [label for label in below if label not in inside]
        merges = sorted(filter(self._is_merge, outside), key=self.number.__getitem__)
        return merges or sorted(outside, key=self.number.__getitem__)[-1:]

    # -- lines -----------------------------------------------------------------------------------

    def _add(self, depth: int, text: str) -> None:
        self.lines.append(INDENT * depth + text)

    def _label(self, label: Label) -> None:
        self.lines.append(f"%{label}")

    def _source(self, at: Place | None, depth: int) -> None:
        """The line of the source that what follows is of."""
        if at is None or (self._said is not None and at.line == self._said.line):
            return
        self._said = at
        self._add(depth, f"// {at.line}: {at.text}")
