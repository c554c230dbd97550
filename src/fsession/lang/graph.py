"""Orders and dominators of the blocks of a function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fsession.lang.ir import Function, Label, Value

__all__ = ["dominators", "liveness", "reverse_postorder"]


def reverse_postorder(function: Function) -> list[Label]:
    """The blocks that can be reached, each after those before it but for the ends of loops."""
    order: list[Label] = []
    seen: set[Label] = {function.entry}
    stack = [(function.entry, iter(function.blocks[function.entry].successors))]
    while stack:
        label, rest = stack[-1]
        for successor in rest:
            if successor not in seen:
                seen.add(successor)
                stack.append((successor, iter(function.blocks[successor].successors)))
                break
        else:
            order.append(label)
            stack.pop()
    order.reverse()
    return order


def dominators(function: Function) -> Mapping[Label, frozenset[Label]]:
    """For each block that can be reached, those on every way to it, itself among them."""
    order = reverse_postorder(function)
    before = function.predecessors()
    everything = frozenset(order)
    found = dict.fromkeys(order, everything)
    found[function.entry] = frozenset({function.entry})
    changed = True
    while changed:
        changed = False
        for label in order[1:]:
            ways = [found[other] for other in before[label] if other in found]
            now = frozenset.intersection(*ways) | {label}
            changed |= now != found[label]
            found[label] = now
    return found


def liveness(
    function: Function, uses: Mapping[Label, set[Value]], defs: Mapping[Label, set[Value]]
) -> Mapping[Label, set[Value]]:
    """The values that are live at the end of each block.

    `uses` of a block are of values from outside it; `defs` includes its parameters.
    """
    live_in: dict[Label, set[Value]] = {label: set() for label in function.blocks}
    live_out: dict[Label, set[Value]] = {label: set() for label in function.blocks}
    changed = True
    while changed:
        changed = False
        for label in reversed(list(function.blocks)):
            out = set().union(*(live_in[other] for other in function.blocks[label].successors))
            into = uses[label] | (out - defs[label])
            if out != live_out[label] or into != live_in[label]:
                live_out[label], live_in[label] = out, into
                changed = True
    return live_out
