"""Make all generated files anew, from the BTF of a real kernel in a guest.

python scripts/generate.py [--kernel 7.2]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from guest_btf import guest_btf

ROOT = Path(__file__).parent.parent
# Script, its arguments but for the BTF, what it writes.
OUTPUTS = (
    ("gen_uapi.py", True, "src/fsession/uapi.py"),
    ("gen_attr.py", True, "src/fsession/kernel/attr.py"),
    ("gen_helper_defs.py", False, "src/fsession/include/bpf/bpf_helper_defs.h"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", default="7.2")
    btf = guest_btf(parser.parse_args().kernel)
    for script, wants_btf, output in OUTPUTS:
        command = [sys.executable, str(ROOT / "scripts" / script)] + [str(btf)] * wants_btf
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        (ROOT / output).write_text(text)
        sys.stdout.write(f"{output}: {text.count(chr(10))} lines\n")


if __name__ == "__main__":
    main()
