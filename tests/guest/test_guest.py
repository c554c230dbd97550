"""Real guests: streams, statuses, files, what goes wrong. Each boots a kernel in QEMU."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fsession.errors import GuestError
from fsession.guest import KERNELS, capture
from fsession.guest.cache import cache_folder
from fsession.guest.debian import Debian
from fsession.guest.image import guest_python
from fsession.guest.kernels import machine
from fsession.guest.progress import Quiet

pytestmark = [pytest.mark.guest, pytest.mark.slow]

BOTH = [pytest.param("x86_64"), pytest.param("arm64", marks=pytest.mark.arm64)]
FACTS = """\
uname -r; id -u; hostname; echo $HOME; pwd; nproc
ping -c 1 -W 5 127.0.0.1 >/dev/null && echo ping
modprobe veth 2>/dev/null && ip link add v0 type veth && ip -br link show v0 | cut -d@ -f1
ls /lib/modules /boot
awk '{ print $2, $3 }' /proc/mounts
python3 -c 'import ctypes, fsession, sys; print(fsession.__name__, sys.version_info[:2])'
"""


@pytest.mark.parametrize("arch", BOTH)
@pytest.mark.parametrize("series", KERNELS, ids=lambda series: series.name)
def test_every_kernel_of_the_matrix(series, arch) -> None:
    done = capture(["sh", "-c", FACTS], kernel=series.name, arch=arch, timeout_s=60)
    lines = done.stdout.decode().splitlines()
    assert done.stderr == b""
    assert done.status == 0
    assert lines[0].startswith(f"{series.name}.")
    assert lines[1:7] == ["0", "fsession", "/root", "/root", "2", "ping"]
    assert ("v0" in lines) == series.modules
    assert (f"config-{lines[0]}" in lines) == series.modules
    assert "/sys/fs/bpf bpf" in lines
    assert "/sys/kernel/tracing tracefs" in lines
    assert "/sys/kernel/debug debugfs" in lines
    assert "/sys/fs/cgroup cgroup2" in lines
    assert lines[-1] == "fsession (3, 11)"


@pytest.mark.parametrize("arch", BOTH)
def test_streams_are_exact_and_apart(arch) -> None:
    content = bytes(range(256)) * 4096 + os.urandom(100_000)
    script = "tee /dev/stderr | sha256sum; sh -c 'kill -SEGV $$'"
    done = capture(["sh", "-c", script], stdin=content, arch=arch, timeout_s=60)
    assert done.stdout.decode().split()[0] == hashlib.sha256(content).hexdigest()
    assert done.stderr.startswith(content)
    assert done.stderr.removeprefix(content) in (b"", b"Segmentation fault\n")
    assert done.status == 128 + signal.SIGSEGV


@pytest.mark.parametrize(
    ("script", "status", "out"),
    [
        ("exit 7", 7, b""),
        ("kill -9 $$", 137, b""),
        ("sleep 1000 & yes >/dev/null & echo started", 0, b"started\n"),
        ("printf 'no newline'", 0, b"no newline"),
        ("cat; echo end", 0, b"end\n"),
        ("exec >&-; exit 3", 3, b""),
    ],
    ids=["status", "signal", "left behind", "no newline", "no input", "closed"],
)
def test_how_a_command_ends(script, status, out) -> None:
    done = capture(["sh", "-c", script], timeout_s=30)
    assert (done.status, done.stdout, done.stderr) == (status, out, b"")


def test_a_command_that_is_not_there() -> None:
    done = capture(["no-such-command"], timeout_s=30)
    assert done.status == 127
    assert b"not found" in done.stderr


def test_files_in_and_out(tmp_path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/tool").write_text("#!/bin/sh\necho $NAME $#\n")
    (tmp_path / "in/deep/tool").chmod(0o755)
    script = "/tmp/in/deep/tool 1 2 >/root/result; mkdir -p /root/d/e; echo x >/root/d/e/f"
    done = capture(
        ["sh", "-c", script],
        copies={str(tmp_path / "in"): "/tmp/in"},
        outputs={"/root/result": str(tmp_path / "result"), "/root/d": str(tmp_path / "d")},
        env={"NAME": "it's me"},
        timeout_s=30,
    )
    assert done.status == 0
    assert (tmp_path / "result").read_text() == "it's me 2\n"
    assert (tmp_path / "d/e/f").read_text() == "x\n"


def test_a_file_the_command_did_not_make(tmp_path) -> None:
    with pytest.raises(GuestError, match="left nothing at /root/none"):
        capture(["true"], outputs={"/root/none": str(tmp_path / "none")}, timeout_s=30)


def test_debian_packages() -> None:
    done = capture(["bpftool", "version"], packages=("bpftool",), timeout_s=30)
    assert re.match(rb"bpftool v\d", done.stdout)


def test_a_panic_is_told_with_the_console() -> None:
    with pytest.raises(GuestError, match="panicked - not syncing: sysrq") as caught:
        capture(["sh", "-c", "echo c >/proc/sysrq-trigger"], timeout_s=30)
    assert "Trigger a crash" in caught.value.console


def test_a_command_that_takes_too_long() -> None:
    with pytest.raises(GuestError, match="did not end within 1 s"):
        capture(["sleep", "100"], timeout_s=1)


def test_a_guest_that_switches_itself_off() -> None:
    with pytest.raises(GuestError, match="switched itself off"):
        capture(["poweroff", "-f"], timeout_s=30)


def test_a_kernel_by_its_path() -> None:
    release = capture(["uname", "-r"], timeout_s=30).stdout
    layers = (cache_folder() / "layers").glob("vmlinuz-*")
    images = [path for path in layers if path.read_bytes()[0x202:0x206] == b"HdrS"]
    wanted = next(path for path in images if release.strip() in path.read_bytes())
    assert capture(["uname", "-r"], kernel=str(wanted), timeout_s=30).stdout == release


def test_counted_instructions_repeat() -> None:
    code = "import time; a = time.perf_counter_ns(); sum(range(50000))\n"
    code += "print(time.perf_counter_ns() - a)"
    first, second = (int(capture(["python3", "-c", code], icount=True).stdout) for _ in range(2))
    assert abs(first - second) <= 16  # ns
    assert 1_000_000 < first < 100_000_000


def test_the_guests_python_runs_here_too(tmp_path) -> None:
    """It makes the byte code where the running interpreter has another version."""
    capture(["true"], timeout_s=30)
    host = machine()
    debian = Debian(host.debian, cache_folder(), None, Quiet(), update=False)
    command = guest_python(cache_folder() / "layers", host, debian)
    (tmp_path / "mod.py").write_text("x = 1\n")
    subprocess.run([*command, "-I", "-S", "-m", "compileall", "-q", tmp_path], check=True)
    assert [path.name for path in tmp_path.rglob("*.pyc")] == ["mod.cpython-311.pyc"]


COMMAND = [sys.executable, "-m", "fsession", "vm"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_guest_and_leaves_nothing(tmp_path, number) -> None:
    with subprocess.Popen(
        [*COMMAND, "--", "sh", "-c", "echo up; sleep 1000"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    assert not Path(f"/proc/{child}").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_shell_on_a_terminal() -> None:
    process, terminal = pty.fork()
    if process == 0:
        os.execv(COMMAND[0], COMMAND)
    shell = _Terminal(terminal)
    shell.expect(b"# ")
    shell.type(b"tty; sleep 1000\n", b"/dev/hvc0\r\n")
    time.sleep(1)
    shell.type(b"\x03", b"# ")
    shell.type(b"echo status=$?; exit 5\n", b"status=130\r\n")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 5
    os.close(terminal)


class _Terminal:
    """The user's side of a pseudo terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def type(self, keys: bytes, answer: bytes) -> None:
        os.write(self._descriptor, keys)
        self.expect(answer)

    def expect(self, answer: bytes) -> None:
        seen = b""
        deadline = time.monotonic() + 600  # other guests may come first
        while answer not in seen:
            assert time.monotonic() < deadline, f"no {answer!r} in {seen!r}"
            if select.select([self._descriptor], [], [], 1)[0]:
                seen += os.read(self._descriptor, 4096)
