"""The host behind bpf(2): `KernelHost`, and what the kernel has loaded."""

from fsession.kernel.host import KernelHost
from fsession.kernel.link import KernelLink, link_by_id, link_ids, pinned_link
from fsession.kernel.map import KernelMap, map_by_id, pinned_map
from fsession.kernel.program import KernelProgram, pinned_program, program_by_id, program_ids

__all__ = [
    "KernelHost",
    "KernelLink",
    "KernelMap",
    "KernelProgram",
    "link_by_id",
    "link_ids",
    "map_by_id",
    "pinned_link",
    "pinned_map",
    "pinned_program",
    "program_by_id",
    "program_ids",
]
