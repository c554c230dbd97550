"""From names and programs to sessions: targets, the choice of a strategy, attaching."""

from fsession.attach.attachment import Attachment
from fsession.attach.plan import Plan, Strategy, choose
from fsession.attach.prepare import prepare, prepare_many
from fsession.attach.prepared import Prepared
from fsession.attach.refusals import Reason
from fsession.attach.survey import survey
from fsession.attach.targets import (
    Found,
    Refused,
    Target,
    find_targets,
    function_target,
    is_pattern,
    program_target,
)

__all__ = [
    "Attachment",
    "Found",
    "Plan",
    "Prepared",
    "Reason",
    "Refused",
    "Strategy",
    "Target",
    "choose",
    "find_targets",
    "function_target",
    "is_pattern",
    "prepare",
    "prepare_many",
    "program_target",
    "survey",
]
