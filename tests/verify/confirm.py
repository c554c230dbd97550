"""Runs in a guest: loads each program of the corpus, prints what its verifier says as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fsession.errors import FsessionError, VerifierError
from fsession.kernel import KernelHost

sys.path.insert(0, str(Path(__file__).parent))
from corpus import MAPS, VALUE_TYPES, cases

NOT_ASKED = "not asked: "


def main() -> None:
    answers = {}
    with KernelHost() as host:
        maps = {number: host.create_map(spec, VALUE_TYPES) for number, spec in MAPS.items()}
        fds = {number: int(map.fd) for number, map in maps.items()}
        types = host.types()
        for case in cases():
            try:
                host.load(case.request(types, fds)).close()
                answers[case.name] = ""
            except VerifierError as error:
                answers[case.name] = error.summary
            except FsessionError as error:
                answers[case.name] = f"{NOT_ASKED}{error}"
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
