"""Expressions of Python to IR: members, elements, calls."""

from __future__ import annotations

import ast
from dataclasses import replace
from types import ModuleType
from typing import Any

from fsession.lang import lookup, texts
from fsession.lang.access import Place, Typed
from fsession.lang.ctypes import BOOL, Array, Integer, Opaque, Pointer, Record
from fsession.lang.forms import call_form
from fsession.lang.intrinsics import Intrinsic
from fsession.lang.ir import Test
from fsession.lang.objects import Function, Global, Map, RingBuf
from fsession.lang.operators import Operators, joined
from fsession.lang.rings import call_ring
from fsession.lang.scope import Argument, Item, Many, Static
from fsession.lang.values import int_of, is_text, static

__all__ = ["Expressions"]

MAP_METHODS = (
    "get", "output", "reserve", "submit", "discard", "read", "items", "keys", "values", "clear"
)  # fmt: skip


class Expressions(Operators):
    """The whole visitor."""

    # -- members, elements, calls ----------------------------------------------------------------

    def _Attribute(self, node: ast.Attribute) -> Item:
        item = self.item(node.value)
        if isinstance(item, Static):
            return self._static_attribute(item, node)
        return self.member(item, node)

    def _static_attribute(self, item: Static, node: ast.Attribute) -> Item:
        owner = item.value
        if isinstance(owner, Global) and node.attr == "value":
            return self.global_place(owner, node)
        if isinstance(owner, dict):  # an enum of BTF
            if node.attr not in owner:
                raise self.fail(node, f"the enum has no '{node.attr}'")
            return Static(owner[node.attr])
        if isinstance(owner, ModuleType | type) or hasattr(owner, node.attr):
            try:
                return static(getattr(owner, node.attr))
            except AttributeError:
                name = getattr(owner, "__name__", owner)
                raise self.fail(node, f"'{name}' has no '{node.attr}'") from None
        raise self.fail(node, f"{owner!r} has no members inside a program")

    def member(self, item: Item, node: ast.Attribute) -> Place:
        """``p.name``: through a pointer as through a struct."""
        place = self.place_of(item, node.value)
        if not isinstance(place.type, Record):
            hint = "it is no struct and no union"
            if isinstance(place.type, Opaque) and place.type.name.startswith("struct "):
                hint = "a BPF program's context has another layout in the kernel's memory"
            raise self.fail(node, f"{place.type} has no members", hint)
        field = self.catalog.member(place.type, node.attr)
        if field is None:
            near = self.catalog.near_members(place.type, node.attr)
            hint = f"did you mean {', '.join(near)}?" if near else ""
            raise self.fail(node, f"{place.type} has no member '{node.attr}'", hint)
        return self.access.member(place, field)

    def place_of(self, item: Item, node: ast.AST) -> Place:
        """The struct or what else a pointer points to, or the place itself."""
        if isinstance(item, Place) and not isinstance(item.type, Pointer):
            return item
        if isinstance(item, Argument) and isinstance(item.type, Record):
            return self.struct_argument(item)
        value = self.value(item, node)
        if not isinstance(value.type, Pointer):
            raise self.fail(node, f"{value.type} has no members")
        return self.access.target(value)

    def _Subscript(self, node: ast.Subscript) -> Item:
        item = self.item(node.value)
        if isinstance(node.slice, ast.Slice):
            raise self.fail(node, "a slice can't be used in a program")
        if isinstance(item, Static) and isinstance(item.value, Map):
            return lookup.read_entry(self, item.value, self.item(node.slice), node)
        if isinstance(item, Many):
            at = self.static_int(node.slice)
            if at is None or not -len(item.items) <= at < len(item.items):
                raise self.fail(node, "an element of a tuple is named by a number it has")
            return item.items[at]
        return self.element(item, node)

    def element(self, item: Item, node: ast.Subscript) -> Place:
        """``p[i]``, of a pointer or an array."""
        at = self.item(node.slice)
        number = int_of(at)
        if isinstance(item, Place) and isinstance(item.type, Array):
            if number is not None and item.type.count and not 0 <= number < item.type.count:
                raise self.fail(node, f"element {number} of {item.type}")
            place, of = item, item.type.of
        else:
            value = self.value(item, node.value)
            if not isinstance(value.type, Pointer) or not value.type.to.size:
                raise self.fail(node, f"{value.type} has no elements")
            place, of = self.access.target(value), value.type.to
        if number is not None:
            return self.access.fixed_element(place, of, number)
        return self.access.element(place, of, self.value(at, node.slice).value)

    def _Call(self, node: ast.Call) -> Item:
        if isinstance(node.func, ast.Attribute):
            found = self._method(node, node.func)
            if found is not None:
                return found
        target = self.item(node.func)
        if isinstance(target, Static) and isinstance(target.value, Intrinsic):
            return call_form(self, target.value.name, node)
        if isinstance(target, Static) and isinstance(target.value, Function):
            return self._call_function(target.value, node)
        if isinstance(target, Static) and target.value in (min, max, abs, int, bool, len):
            return self._builtin(target.value, node)
        name = ast.unparse(node.func)
        hint = "decorate it with @fsession.function" * (
            isinstance(target, Static) and callable(target.value)
        )
        raise self.fail(node, f"'{name}' can't be called in a program", hint)

    def _method(self, node: ast.Call, target: ast.Attribute) -> Item | None:
        """``map.get(k)``, ``text.startswith("…")``; None if it is no such call."""
        if target.attr in MAP_METHODS:
            owner = self.item(target.value)
            if isinstance(owner, Static) and isinstance(owner.value, RingBuf):
                return call_ring(self, owner.value, target.attr, node)
            if isinstance(owner, Static) and isinstance(owner.value, Map):
                if target.attr != "get":
                    hint = "m[k], m[k] = v, m[k] += n, m.get(k), k in m, del m[k]"
                    raise self.fail(
                        node, f"'{target.attr}' of a map can't be used in a program", hint
                    )
                return lookup.get_entry(self, owner.value, node)
        if target.attr == "startswith" and len(node.args) == 1:
            text = self.item(node.args[0])
            if not is_text(text) or not isinstance(text, Static):
                raise self.fail(node.args[0], "startswith takes a constant text")
            return texts.equals(self, self.item(target.value), text.value, node, prefix=True)
        return None

    def _call_function(self, function: Function, node: ast.Call) -> Item:
        if node.keywords or len(node.args) > 5:
            raise self.fail(node, "functions take up to 5 arguments, by their places")
        name = self.local_function(function, node)
        args = [self.typed(arg).value for arg in node.args]
        return Typed(Integer(8, True, "s64"), self.build.local(name, *args))

    def _builtin(self, function: Any, node: ast.Call) -> Item:
        if function in (min, max) and len(node.args) >= 2:
            best = self.item(node.args[0])
            for arg in node.args[1:]:
                best = self._better(function, best, self.item(arg), node)
            return best
        if len(node.args) != 1 or function in (min, max):
            raise self.fail(node, f"{function.__name__}() is called with other arguments here")
        item = self.item(node.args[0])
        if function is len:
            if isinstance(item, Place) and isinstance(item.type, Array):
                return Static(item.type.count)
            raise self.fail(node, "len() is of arrays only")
        if function is bool:
            holds = self.build.compare(Test.NE, self.truth_of(item, node), self._zero())
            return Typed(BOOL, holds)
        known = int_of(item)
        if known is not None:
            return Static(function(known))
        value = self.value(item, node)
        if function is abs:
            zero = Static(0)
            return self._better(max, value, self.binary("-", zero, value, node), node)
        return value

    def _better(self, function: Any, a: Item, b: Item, node: ast.AST) -> Item:
        """The first where both are equal, as Python does."""
        x, y = int_of(a), int_of(b)
        if x is not None and y is not None:
            return Static(function(x, y))
        build = self.build
        left, right = self.value(a, node), self.value(b, node)
        keep, take, done = build.block(), build.block(), build.block()
        other = self.arith.compare("<" if function is min else ">", right, left, (y, x))
        build.branch(Test.NE, other.value, self._zero(), take, keep)
        for label, value in ((take, right), (keep, left)):
            build.begin(label)
            build.jump(done, value.value)
        (result,) = build.begin(done, 1)
        known = [n for n in (x, y, left.most, right.most) if n is not None]
        most = min(known) if known and function is min else None
        return replace(joined([left, right], result), most=most)

    def _NamedExpr(self, node: ast.NamedExpr) -> Item:
        item = self.item(node.value)
        self.names[node.target.id] = self.kept(item, node)
        return self.names[node.target.id]
