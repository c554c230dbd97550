"""Why a program is refused: raised inside the walk, made into a `report.Report` by `verify`."""

from __future__ import annotations

__all__ = ["NotJudgedError", "RefusedError"]


class RefusedError(Exception):
    """The kernel's telling phrase; `errno` as the kernel's; `advice` says what to change.

    `regs` are the registers that the reason is about, for the explanation. `at` is the slot where
    it happened, -1 where it is about no instruction.
    """

    def __init__(self, message: str, *, advice: str = "", regs: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.message, self.advice, self.regs = message, advice, regs
        self.at = -1


class NotJudgedError(RefusedError):
    """Something whose rules we do not know: a refusal too, never an acceptance."""

    def __init__(self, what: str, *, advice: str = "") -> None:
        super().__init__(f"not judged: {what}", advice=advice or _ADVICE)


_ADVICE = "this verifier does not know the rules of it and so refuses it; the kernel may take it"
