"""`features`: what a host can do, as a mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.host import Feature

if TYPE_CHECKING:
    from fsession.host import Host

__all__ = ["features"]


def features(host: Host) -> dict[Feature, str]:
    """Every `Feature` with "" if the host has it, else what the trial of it was answered.

    >>> features(host)[Feature.FSESSION_MULTI]
    'the kernel does not know the attach type (EINVAL)'
    """
    return {feature: host.why_not(feature) for feature in Feature}
