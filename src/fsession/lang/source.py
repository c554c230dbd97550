"""Where a Python function comes from, and errors that point into it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import TYPE_CHECKING, Any

from fsession.errors import CompileError
from fsession.lang.ir import Place

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Source"]


class Source:
    """The source of one function, as its file has it."""

    def __init__(self, file: str, first_line: int, lines: list[str], indent: int) -> None:
        self.file = file
        self._first = first_line
        self._lines = lines
        self._indent = indent

    @classmethod
    def of(cls, function: Callable[..., Any]) -> tuple[Source, ast.FunctionDef]:
        """The source and syntax tree of a function. Raises `CompileError` without a source."""
        name = getattr(function, "__name__", repr(function))
        try:
            lines, first = inspect.getsourcelines(function)
            file = inspect.getsourcefile(function) or "<source>"
        except (OSError, TypeError):
            error = CompileError(f"the source of '{name}' can't be read")
            raise error.hint("programs are compiled from their source: put it in a file") from None
        text = textwrap.dedent("".join(lines))
        indent = len(lines[0]) - len(lines[0].lstrip())
        tree = ast.parse(text).body[0]
        if not isinstance(tree, ast.FunctionDef):
            raise CompileError(f"'{name}' is no function of the kind 'def'", file, first)
        return cls(file, first, [line.rstrip("\n") for line in lines], indent), tree

    def check_parameters(self, tree: ast.FunctionDef) -> None:
        """Raises `CompileError` for others than plain names."""
        args = tree.args
        others = (*args.kwonlyargs, *filter(None, (args.vararg, args.kwarg)), *args.defaults)
        if others:
            message = f"'{ast.unparse(others[0])}' is no plain parameter"
            raise self.error(others[0], message, "parameters are names, without '*' and defaults")

    def place(self, node: ast.AST) -> Place:
        line = getattr(node, "lineno", 1)
        column = getattr(node, "col_offset", 0) + self._indent + 1
        text = self._lines[line - 1] if 0 < line <= len(self._lines) else ""
        return Place(self.file, self._first + line - 1, column, text.strip())

    def error_at(self, place: Place, message: str, hint: str = "") -> CompileError:
        """At the place of an operation, which has no node any more."""
        error = CompileError(message, place.file, place.line, place.column)
        line = place.line - self._first
        if 0 <= line < len(self._lines):
            error.add_note(f"  {self._lines[line]}")
            error.add_note(f"  {' ' * (place.column - 1)}^")
        if hint:
            error.hint(hint)
        return error

    def error(self, node: ast.AST, message: str, hint: str = "") -> CompileError:
        """With the line and a caret under the place."""
        place = self.place(node)
        error = CompileError(message, place.file, place.line, place.column)
        line = getattr(node, "lineno", 1)
        if 0 < line <= len(self._lines):
            text = self._lines[line - 1]
            width = 1
            if getattr(node, "end_lineno", line) == line:
                end = getattr(node, "end_col_offset", None) or 0
                width = max(1, end - getattr(node, "col_offset", 0))
            error.add_note(f"  {text}")
            error.add_note(f"  {' ' * (place.column - 1)}{'^' * width}")
        if hint:
            error.hint(hint)
        return error
