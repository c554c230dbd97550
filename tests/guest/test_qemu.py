"""QEMU's command line."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from fsession.errors import UnsupportedError
from fsession.guest.kernels import machine
from fsession.guest.qemu import BootOptions, arguments, program, running


def line(arch: str = "x86_64", ports: tuple[int, ...] = (2, 3, 4, 1), **options: object) -> str:
    """The command line as a shell would have it."""
    words = arguments(
        machine(arch), BootOptions(**options), Path("/k"), Path("/i"), Path("/s"), ports
    )
    return " ".join(words)


def test_x86_64() -> None:
    assert line(cpus=1, memory_mib=512) == (
        "-machine pc -cpu max -accel tcg,thread=single -smp 1 -m 512 "
        "-nodefaults -no-user-config -display none -no-reboot -kernel /k -initrd /i "
        "-append console=ttyS0 quiet panic=-1 rdinit=/init cryptomgr.notests "
        "-chardev file,id=console,path=/s/console -serial chardev:console "
        "-device virtio-serial-pci "
        "-chardev socket,id=port2,path=/s/2 -device virtserialport,chardev=port2,nr=2 "
        "-chardev socket,id=port3,path=/s/3 -device virtserialport,chardev=port3,nr=3 "
        "-chardev socket,id=port4,path=/s/4 -device virtserialport,chardev=port4,nr=4 "
        "-chardev socket,id=port1,path=/s/1 -device virtserialport,chardev=port1,nr=1"
    )


def test_arm64_has_its_own_machine_and_console() -> None:
    text = line("arm64")
    assert text.startswith("-machine virt -cpu max,pauth-impdef=on -accel tcg,thread=single -smp 2")
    assert "console=ttyAMA0" in text


def test_icount_is_one_cpu_and_no_chance() -> None:
    text = line(icount=True, cpus=4)
    assert "-accel tcg,thread=single -icount shift=0,sleep=off -seed 1 -rtc base=" in text
    assert "-smp 1 " in text
    assert "nokaslr norandmaps" in text


def test_a_terminal_is_a_console_port() -> None:
    assert "-device virtconsole,chardev=port0,nr=0" in line(ports=(0, 1))


def test_more_words_for_the_kernel_come_last() -> None:
    assert "cryptomgr.notests loglevel=7 nosmp -chardev" in line(append="loglevel=7  nosmp")


def test_an_emulator_that_is_not_there(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UnsupportedError, match="qemu-system-aarch64 is not installed") as caught:
        program(machine("arm64"))
    assert caught.value.__notes__ == ["on Debian: apt install qemu-system-arm"]


def test_the_process_is_gone_at_the_end(tmp_path) -> None:
    started = time.monotonic()
    with running(["sleep", "60"], tmp_path / "errors") as process:
        assert process.poll() is None
    assert process.returncode is not None
    assert time.monotonic() - started < 5


def test_what_it_complains_about_is_kept(tmp_path) -> None:
    with running(["sh", "-c", "echo bad option >&2"], tmp_path / "errors") as process:
        process.wait()
    assert (tmp_path / "errors").read_text() == "bad option\n"


def test_the_process_dies_with_its_parent(tmp_path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from fsession.guest.qemu import running\n"
        "with running(['sleep', '60'], pathlib.Path(sys.argv[1])) as process:\n"
        "    print(process.pid, flush=True)\n"
        "    name = pathlib.Path(f'/proc/{process.pid}/comm')\n"
        "    while name.read_text() != 'sleep\\n':\n"
        "        pass\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    if not Path("/usr/bin/setpriv").exists():
        pytest.skip("needs setpriv")
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "errors"], capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr
    assert _is_gone(int(done.stdout))


def _is_gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
