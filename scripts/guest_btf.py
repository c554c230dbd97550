"""The BTF of a guest's kernel, taken from the booted kernel once and kept in the build folder."""

from __future__ import annotations

import sys
from pathlib import Path

from fsession.errors import GuestError
from fsession.guest import StderrProgress, run

BUILD = Path(__file__).parent.parent / "build"


def guest_btf(kernel: str, arch: str = "x86_64") -> Path:
    """Path of the raw BTF of the series `kernel`."""
    path = BUILD / f"vmlinux-{kernel}-{arch}.btf"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as out:
            status = run(
                ["cat", "/sys/kernel/btf/vmlinux"],
                kernel=kernel,
                arch=arch,
                stdout=out,
                timeout_s=60,
                progress=StderrProgress(),
            )
        if status:
            raise GuestError(f"reading the BTF of Linux {kernel} {arch} ended with {status}")
        part.rename(path)
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{guest_btf(*sys.argv[1:])}\n")
