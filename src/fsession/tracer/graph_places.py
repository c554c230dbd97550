"""Where the code of a graph's functions is, of the kernel's and of BPF programs', and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.attach import program_target
from fsession.errors import AttachError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fsession.attach import Target
    from fsession.callees import KernelMemory, Symbol
    from fsession.callees.library import LibraryMemory
    from fsession.host import Host, Program

__all__ = ["CodePlaces", "close_programs"]


class CodePlaces:
    """Of functions that a user named: where they start, and which functions their programs have.

    The kernel has names for the code of BPF programs (``bpf_prog_TAG_NAME``), but finds no address
    by them: a program tells where its functions are.
    """

    def __init__(self, host: Host, memory: KernelMemory | LibraryMemory) -> None:
        self._host, self._memory = host, memory
        self._starts: dict[int, dict[int, int]] = {}
        self._targets: dict[str, Target | None] = {}  # by the names of their code

    def addresses(self, targets: Sequence[Target]) -> list[int]:
        """Of each; 0 for what is not found."""
        names = [target.name for target in targets if target.program is None]
        found = dict(zip(names, self._memory.addresses(names), strict=True))
        return [
            self._start(target, target.program) if target.program else found[target.name]
            for target in targets
        ]

    def target(self, symbol: Symbol) -> Target | None:
        """The function of a program that has this name, if no other of them has it."""
        return self._targets.get(symbol.name)

    def _start(self, target: Target, program: Program) -> int:
        if program.id not in self._starts:
            self._starts[program.id] = self._learn(target, program)
        return self._starts[program.id][target.btf_id]

    def _learn(self, target: Target, program: Program) -> dict[int, int]:
        """Starts of a program's functions by their BTF ids; keeps them all as targets."""
        ids = self._host.program_functions(program)
        starts = self._host.program_code(program)
        if len(ids) != len(starts):
            raise AttachError(target.name, "the kernel does not tell where its code is").hint(
                "is it compiled (sysctl net.core.bpf_jit_enable), and have you CAP_SYSLOG?"
            )
        types = self._host.program_types(program)
        for id, symbol in zip(ids, self._memory.symbols(starts), strict=True):
            name = "" if id == ids[0] else types.name_of(id)
            if symbol is not None:
                part = target if id == target.btf_id else self._part(program, name)
                self._targets[symbol.name] = None if symbol.name in self._targets else part
        return dict(zip(ids, starts, strict=True))

    def _part(self, program: Program, name: str) -> Target | None:
        try:
            return program_target(self._host, program, name)
        except AttachError:  # a prototype that trampolines don't take
            return None


def close_programs(targets: Iterable[Target]) -> None:
    """Those of targets that `find_targets` opened."""
    for target in targets:
        if target.program is not None:
            target.program.close()
