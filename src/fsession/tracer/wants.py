"""What the programs of each function have to do: filters and values, as its arguments allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.errors import CompileError
from fsession.frozen import frozen
from fsession.lang.ctypes import Catalog
from fsession.trace import Filters, Wanted
from fsession.tracer.signatures import target_signature

if TYPE_CHECKING:
    from fsession.attach import Target
    from fsession.btf.catalog import Types
    from fsession.trace.scope import Scope

__all__ = ["NOT_ITS_TYPES", "Wants", "Wishes"]

NOT_ITS_TYPES = "the expressions don't fit its types"


@frozen
class Wishes:
    """Of the user, for all functions: filters, and expressions whose values are shown.

    `objects`: of arguments that point to well-known structs, what people want to see of them.
    `expand`: the whole structs that arguments point to.
    """

    filters: Filters = Filters()
    prints: tuple[str, ...] = ()
    objects: bool = False
    expand: bool = False

    @property
    def has_user_stacks(self) -> bool:
        """Whether what is shown has stacks of processes."""
        return "ustack" in self.prints

    @property
    def sources(self) -> tuple[str, ...]:
        """All expressions."""
        return self.filters.conditions + self.prints


class Wants:
    """Compiles the wishes for one function after the other; functions that are alike, once."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._plain = Wanted(wishes.filters)
        self._catalogs: dict[int, Catalog] = {}
        self._known: dict[object, Wanted | CompileError] = {}
        self.errors: list[CompileError] = []

    def of(self, target: Target, *, direct: bool) -> Wanted | str:
        """For one function, or why it can't have what is wished.

        `direct`: its program is verified against it, and reads its arguments from the context.
        """
        if not (self._wishes.sources or self._wishes.objects or self._wishes.expand):
            return self._plain
        from fsession.trace.scope import Scope  # with it comes pycparser, which takes its time

        catalog = self._catalog(target.types)
        function = target_signature(target)
        is_program = target.program is not None
        scope = Scope.of(catalog, function, direct=direct, is_program=is_program)
        name = scope.missing(self._wishes.sources)
        if name and self._known:
            return f"no argument '{name}'"
        names = tuple(scope.params) if self._wishes.objects or self._wishes.expand else ()
        sources = (*self._wishes.sources, *names)
        key = (id(catalog), direct, is_program, scope.key(sources))
        made = self._known.get(key) if not name else None
        if made is None:
            made = self._compile(scope)
            if not name:
                self._known[key] = made
        if isinstance(made, CompileError):
            self.errors.append(made)
            return f"no argument '{name}'" if name else NOT_ITS_TYPES
        return made

    def _compile(self, scope: Scope) -> Wanted | CompileError:
        from fsession.trace.expressions import check, describe, describe_objects, describe_structs

        try:
            for source in self._wishes.filters.conditions:
                check(scope, source)
            fields = [describe(scope, source) for source in self._wishes.prints]
        except CompileError as error:
            return error
        fields += describe_objects(scope) if self._wishes.objects else []
        fields += describe_structs(scope) if self._wishes.expand else []
        return Wanted(self._wishes.filters, tuple(fields), scope)

    def _catalog(self, types: Types) -> Catalog:
        found = self._catalogs.get(id(types))
        if found is None:
            found = self._catalogs[id(types)] = Catalog(types)
        return found
