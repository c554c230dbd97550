"""QEMU's command line, and the process."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fsession.errors import UnsupportedError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fsession.guest.kernels import Machine

__all__ = ["BootOptions", "arguments", "program", "running"]

# Ports by number, as init.py describes them.
CONTROL, STDOUT, STDERR, STDIN, OUTPUTS = range(1, 6)
TERMINAL = 0  # the port a virtio console has


@frozen
class BootOptions:
    """How a guest is booted. `icount`: one instruction takes 1 ns of guest time, always."""

    cpus: int = 2
    memory_mib: int = 1024
    append: str = ""
    icount: bool = False


def program(machine: Machine) -> str:
    """The path of the emulator."""
    found = shutil.which(machine.qemu)
    if found is None:
        raise UnsupportedError(
            f"a guest of {machine.name}", f"{machine.qemu} is not installed"
        ).hint(f"on Debian: apt install {machine.qemu_package}")
    return found


def arguments(
    machine: Machine,
    options: BootOptions,
    kernel: Path,
    initrd: Path,
    sockets: Path,
    ports: Sequence[int],
) -> list[str]:
    """What QEMU is called with, less its own name. The sockets of `ports` are in `sockets`."""
    accelerator = ["-accel", "tcg,thread=single"]
    cpus = options.cpus
    if options.icount:
        accelerator += [
            "-icount",
            "shift=0,sleep=off",
            "-seed",
            "1",
            "-rtc",
            "base=2026-01-01,clock=vm",
        ]
        cpus = 1
    return [
        *machine.options,
        *accelerator,
        *("-smp", str(cpus), "-m", str(options.memory_mib)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", _kernel_line(machine, options)),
        *("-chardev", f"file,id=console,path={sockets}/console", "-serial", "chardev:console"),
        *("-device", "virtio-serial-pci"),
        *(word for port in ports for word in _port(port, sockets)),
    ]


def _port(number: int, sockets: Path) -> list[str]:
    device = "virtconsole" if number == TERMINAL else "virtserialport"
    return [
        *("-chardev", f"socket,id=port{number},path={sockets}/{number}"),
        *("-device", f"{device},chardev=port{number},nr={number}"),
    ]


def _kernel_line(machine: Machine, options: BootOptions) -> str:
    words = [f"console={machine.console}", "quiet", "panic=-1", "rdinit=/init"]
    # The self-tests of the kernel's ciphers run beside the command for seconds.
    words += ["cryptomgr.notests"]
    if options.icount:
        words += ["nokaslr", "norandmaps"]
    return " ".join([*words, *options.append.split()])


@contextmanager
def running(command: Sequence[str], errors: Path) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU, running. It is killed at the end, and by the kernel if this process dies before."""
    guard = shutil.which("setpriv")
    prefix = [guard, "--pdeathsig", "KILL", "--"] if guard else []
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # a terminal's Ctrl-C is for us: we end the guest in order
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
