"""Two C programs and a traced library in user space, then the main job on Linux 7.2 in QEMU.

Without QEMU it ends after the first part and says so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fsession.btf.catalog import Types
from fsession.errors import FsessionError
from fsession.guest import StderrProgress, run
from fsession.obj import compile_c
from guest_btf import guest_btf

ROOT = Path(__file__).parent.parent
KERNEL = "7.2"
PING = "ping -c {count} 127.0.0.1"
STEPS = (
    "fsession features",
    f"fsession trace icmp_rcv -- {PING.format(count=3)}",
    f"fsession run session_printk.bpf.o -- {PING.format(count=1)}",
    f"fsession run session_cookie.bpf.o -- {PING.format(count=1)}",
)


IN_USER_SPACE = tuple(
    f"fsession run examples/{name}.bpf.c --on engine --call 'icmp_rcv(0)'"
    for name in ("session_printk", "session_cookie")
)
LIBRARY = "build/libshop.so"
BUILD = (
    f"gcc -g -O2 -shared -fPIC -fpatchable-function-entry=5 -o {LIBRARY} examples/library/shop.c"
)
TRACE = f"fsession trace --on engine --lib {LIBRARY} '*' -- examples/library/shop.py {LIBRARY}"
QEMU = "qemu-system-x86_64"


def in_user_space() -> int:
    """The first part; its exit status."""
    for step in IN_USER_SPACE:
        status = shown(step)
        if status:
            return status
    if shutil.which("gcc") is None:
        sys.stdout.write("\nthere is no gcc here: the traced library is left out\n")
        return 0
    (ROOT / "build").mkdir(exist_ok=True)
    return shown(BUILD) or shown(TRACE)


def shown(step: str) -> int:
    """Run a command as it stands there; its exit status."""
    sys.stdout.write(f"\n$ {step}\n")
    sys.stdout.flush()
    ours = step.startswith("fsession ")
    command = f"{sys.executable} -m {step}" if ours else step
    return subprocess.run(command, shell=True, cwd=ROOT, check=False).returncode


def compiled(folder: Path) -> dict[str, str]:
    """Objects of the two examples, and where they go in the guest."""
    types = Types.from_bytes(guest_btf(KERNEL).read_bytes())
    copies = {}
    for name in ("session_printk", "session_cookie"):
        source = ROOT / "examples" / f"{name}.bpf.c"
        sys.stdout.write(f"compiling {source.relative_to(ROOT)}\n")
        out = folder / f"{name}.bpf.o"
        out.write_bytes(compile_c(source, types=types, cache_dir=ROOT / "build"))
        copies[str(out)] = f"/root/{out.name}"
    return copies


def here() -> str:
    """How to do the same on this machine's own kernel; "" if that can't."""
    from fsession.host import Feature
    from fsession.kernel import KernelHost

    try:
        with KernelHost() as host:
            able = host.supports(Feature.FSESSION) or host.supports(Feature.FENTRY)
    except FsessionError:
        return ""
    words = "This machine's own kernel can do the same without the guest:"
    return f"{words}\n    .venv/bin/{STEPS[1]}\n" if able else ""


def main() -> int:
    status = in_user_space()
    if status:
        return status
    if shutil.which(QEMU) is None:
        sys.stdout.write(f"\nthere is no {QEMU} here: the part in a guest is left out\n")
        return 0
    sys.stdout.write("\n")
    return in_guest()


def in_guest() -> int:
    script = "cd /root\n" + "".join(f"echo; echo '$ {step}'\n{step} || exit 1\n" for step in STEPS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            copies = compiled(Path(folder))
            sys.stdout.write(f"booting Linux {KERNEL} in QEMU (software emulation)\n")
            sys.stdout.flush()
            status = run(
                ["sh", "-c", script],
                kernel=KERNEL,
                arch="x86_64",
                copies=copies,
                timeout_s=180,
                progress=StderrProgress(),
            )
    except FsessionError as error:
        sys.stderr.write("\n".join([f"demo: {error}", *getattr(error, "__notes__", ())]) + "\n")
        return 1
    sys.stdout.write("\n" + here())
    return status


if __name__ == "__main__":
    sys.exit(main())
