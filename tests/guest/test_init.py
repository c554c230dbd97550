"""Process 1 of the guest: the script's form, and how a command gets into it unharmed."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from fsession.guest.init import init_files

DASH = shutil.which("dash")


def files(command: list[str], **changes: object) -> dict[str, bytes]:
    """Contents by path."""
    known = {"env": {}, "outputs": (), "terminal": False, "settle": False, "early_modules": ()}
    entries = init_files(command, **known | changes)  # type: ignore[arg-type]
    return {entry.path: entry.data for entry in entries}


@pytest.mark.skipif(not DASH, reason="needs dash")
def test_every_script_is_well_formed(tmp_path) -> None:
    made = files(["true"], outputs=("/a b", "/c"), early_modules=("virtio_pci",))
    for name in ("init", ".fsession/settings", ".fsession/command", ".fsession/outputs"):
        subprocess.run([DASH, "-n"], input=made[name], check=True)


@pytest.mark.skipif(not DASH, reason="needs dash")
@pytest.mark.parametrize(
    "words",
    [["a b", "$HOME", "`id`", "'", '"', "\\", "*", "", "\n"], ["\udcff\udc80"], ["-n", "--"]],
    ids=["quotes", "bytes", "dashes"],
)
def test_a_command_arrives_as_it_is(words) -> None:
    script = files(["printf", "%s\\0", *words])[".fsession/command"]
    done = subprocess.run([DASH], input=script, capture_output=True, check=True)
    raw = [word.encode("utf-8", "surrogateescape") for word in words]
    assert done.stdout == b"\0".join(raw) + b"\0"


@pytest.mark.skipif(not DASH, reason="needs dash")
def test_variables_are_exported() -> None:
    script = files(["sh", "-c", 'printf %s "$A"'], env={"A": "it's $x\n"})[".fsession/command"]
    assert (
        subprocess.run([DASH], input=script, capture_output=True, check=True).stdout == b"it's $x\n"
    )


def test_no_command_is_a_shell() -> None:
    assert files([])[".fsession/command"].endswith(b"exec /bin/sh\n")
    assert files([], terminal=True)[".fsession/command"].endswith(b"exec /bin/sh -i\n")


def test_settings() -> None:
    made = files(["x"], terminal=True, settle=True, outputs=("/o",), early_modules=("a", "b"))
    assert made[".fsession/settings"].decode().splitlines() == [
        "terminal=1", "start='/usr/bin/python3 -I -S /.fsession/settle'", "outputs=1",
        "early_modules='a b'",
    ]  # fmt: skip


def test_process_1_can_be_run() -> None:
    (init,) = [entry for entry in init_files(
        [], env={}, outputs=(), terminal=False, settle=False, early_modules=()
    ) if entry.path == "init"]  # fmt: skip
    assert init.mode & 0o111 == 0o111
