"""The verdict on a program."""

from __future__ import annotations

from fsession.frozen import frozen

__all__ = ["Report"]


@frozen
class Report:
    """`message` is the telling phrase of a refusal, `at` the slot it is about (-1: none), `insns`
    how many instructions were walked. `advice`: what to change. `log`: as the kernel writes it."""

    program: str
    accepted: bool
    message: str = ""
    at: int = -1
    insns: int = 0
    advice: str = ""
    log: str = ""
    explanation: str = ""
    judged: bool = True

    @property
    def summary(self) -> str:
        if self.accepted:
            return f"{self.program}: accepted, {self.insns} instructions"
        return f"{self.program}: refused: {self.message.splitlines()[-1]}"
