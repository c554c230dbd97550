"""Runs in a guest: loads the programs of a batch, writes one line for each: "" or its refusal.

A batch is rows of type, attach type, id of the target, number of instruction slots, and these.
Their maps have the descriptors `FIRST_FD` and up. See against_kernel.py.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fuzz_verify import MAPS

from fsession.errors import KernelError
from fsession.kernel import KernelHost
from fsession.kernel.layout import pack
from fsession.kernel.syscall import Buffer, bpf_fd
from fsession.kernel.verifier_log import telling_lines
from fsession.uapi import Cmd

FIRST_FD = 101
ROW = struct.Struct("<IIII")
_LOG_BYTES = 1 << 20


def main() -> None:
    batch, out = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
    licence, log = Buffer(b"GPL\0"), Buffer(_LOG_BYTES)
    answers, at = [], 0
    with KernelHost() as host:
        maps = [host.create_map(spec) for spec in MAPS]
        for number, made in enumerate(maps):
            os.dup2(made.fd, FIRST_FD + number)
        while at < len(batch):
            kind, attach, target, slots = ROW.unpack_from(batch, at)
            at += ROW.size
            insns = Buffer(batch[at : at + 8 * slots])
            at += 8 * slots
            values = {
                "prog_type": kind, "expected_attach_type": attach, "attach_btf_id": target,
                "insn_cnt": slots, "insns": insns.address, "license": licence.address,
            }  # fmt: skip
            answers.append(_load(values, log))
    out.write_text("".join(f"{line}\n" for line in answers))


def _load(values: dict[str, int], log: Buffer) -> str:
    try:
        os.close(bpf_fd(Cmd.PROG_LOAD, pack("prog_load", **values), "load"))
    except KernelError:
        pass
    else:
        return ""
    words = {"log_level": 1, "log_buf": log.address, "log_size": log.size}
    try:
        os.close(bpf_fd(Cmd.PROG_LOAD, pack("prog_load", **values, **words), "load"))
    except KernelError as error:
        return telling_lines(log.text)[0].replace("\n", " ") or str(error)
    return "refused without a log only"


if __name__ == "__main__":
    main()
