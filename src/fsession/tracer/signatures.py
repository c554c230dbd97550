"""Prototypes of targets, under the names that the user knows them by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.trace import Signature, signature

if TYPE_CHECKING:
    from fsession.attach import Target

__all__ = ["target_signature"]


def target_signature(target: Target) -> Signature:
    """Of a function, or of a BPF program, which goes by the name that the user gave it."""
    function = target.name if target.program else target.name.rpartition(":")[2]
    return signature(target.types, target.btf_id, function, target.module)
