"""The verdict on a program."""

from __future__ import annotations

from fsession.frozen import frozen

__all__ = ["Report"]


@frozen
class Report:
    """`message` is the telling phrase of a refusal, `at` the slot it is about (-1: none), `insns`
    how many instructions were walked. `advice`: what to change. `source`: the line that it is
    about. `explanation`: the instructions that led there. `log`: as the kernel writes it.
    `judged` False: refused because its rules are not known here."""

    program: str
    accepted: bool
    message: str = ""
    at: int = -1
    insns: int = 0
    advice: str = ""
    log: str = ""
    explanation: str = ""
    source: str = ""
    judged: bool = True

    @property
    def summary(self) -> str:
        if self.accepted:
            return f"{self.program}: accepted, {self.insns} instructions"
        return f"{self.program}: refused: {self.message.splitlines()[-1]}"
