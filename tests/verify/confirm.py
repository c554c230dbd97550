"""Runs in a guest: loads each program of the corpus, prints what its verifier says as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from fsession.errors import FsessionError, VerifierError
from fsession.kernel import KernelHost, host, program
from fsession.kernel.btf_load import load_btf

sys.path.insert(0, str(Path(__file__).parent))
from corpus import MAPS, VALUE_TYPES, cases

NOT_ASKED = "not asked: "
_LOADED: dict[bytes, int] = {}


def _load_once(data: bytes, what: str) -> int:
    """One BTF object for the maps and the programs: what is in lists must be of the same."""
    if data not in _LOADED:
        _LOADED[data] = load_btf(data, what)
    return os.dup(_LOADED[data])


host.load_btf = program.load_btf = _load_once


def main() -> None:
    answers = {}
    with KernelHost() as kernel:
        maps = {number: kernel.create_map(spec, VALUE_TYPES) for number, spec in MAPS.items()}
        fds = {number: int(map.fd) for number, map in maps.items()}
        types = kernel.types()
        for case in cases():
            try:
                kernel.load(case.request(types, fds)).close()
                answers[case.name] = ""
            except VerifierError as error:
                answers[case.name] = error.summary
            except FsessionError as error:
                answers[case.name] = f"{NOT_ASKED}{error}"
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
