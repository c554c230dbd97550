"""Kernel images by their bytes."""

from __future__ import annotations

import contextlib
import gzip
import struct

import pytest

from fsession.errors import BadInputError
from fsession.guest.image import machine_for
from fsession.guest.images import KernelImage, module_folder, read_image

RELEASE = "7.2.13+deb14-cloud-amd64"


def image(size: int = 8192, **at: bytes) -> bytes:
    """`size` bytes with the given ones at the given places (``at_0x202=b"HdrS"``)."""
    content = bytearray(size)
    for place, data in at.items():
        start = int(place.removeprefix("at_"), 16)
        content[start : start + len(data)] = data
    return bytes(content)


BZIMAGE = image(
    at_0x202=b"HdrS",
    at_0x20E=struct.pack("<H", 0x1000),
    at_0x1200=f"{RELEASE} (x@y) #1 SMP\0".encode(),
)
BANNER = f"Linux version {RELEASE} (x@y) (gcc)\0".encode()
ARM64 = image(at_0x38=b"ARM\x64", at_0x1000=BANNER)
ZBOOT = image(at_0x0=b"MZ\0\0zimg", at_0x3C=struct.pack("<I", 0x80), at_0x80=b"PE\0\0\x64\xaa")

KINDS = [
    ("bzImage", BZIMAGE, "x86_64", RELEASE),
    ("Image", ARM64, "arm64", RELEASE),
    ("Image.gz", gzip.compress(ARM64), "arm64", RELEASE),
    ("zboot", ZBOOT, "arm64", ""),
    ("vmlinux", image(at_0x0=b"\x7fELF", at_0x12=b"\x3e\0", at_0x800=BANNER), "x86_64", RELEASE),
    ("vmlinux arm64", image(at_0x0=b"\x7fELF", at_0x12=b"\xb7\0"), "arm64", ""),
]


@pytest.mark.parametrize(
    ("content", "arch", "release"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS]
)
def test_kinds(tmp_path, content, arch, release) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    assert read_image(path) == KernelImage(path, arch, release)
    assert machine_for(str(path), None).name == arch


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no kernel image"),
        (BZIMAGE[:0x210], "no kernel image"),
        (image(), "no kernel image"),
        (b"\x1f\x8bxx", "broken gzip"),
        (image(at_0x0=b"\x7fELF", at_0x12=b"\x08\0"), "no kernel image"),
    ],
    ids=["empty", "cut", "zeros", "gzip", "mips"],
)
def test_what_is_no_image(tmp_path, content, words) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=words):
        read_image(path)


def test_random_bytes_are_refused_in_words(tmp_path, seeded) -> None:
    path = tmp_path / "image"
    for start in (b"MZ\0\0zimg", b"\x1f\x8b", b"\x7fELF", b""):
        for _ in range(50):
            path.write_bytes(start + seeded.randbytes(5000))
            with contextlib.suppress(BadInputError):
                read_image(path)


def test_no_file_at_all(tmp_path) -> None:
    with pytest.raises(BadInputError, match="No such file"):
        read_image(tmp_path / "gone")


def test_an_image_for_another_machine(tmp_path) -> None:
    path = tmp_path / "image"
    path.write_bytes(ARM64)
    with pytest.raises(BadInputError, match="is a kernel for arm64, not for x86_64"):
        machine_for(str(path), "x86_64")


@pytest.mark.parametrize(
    ("place", "modules"),
    [
        (f"boot/vmlinuz-{RELEASE}", f"lib/modules/{RELEASE}"),
        (f"boot/vmlinuz-{RELEASE}", f"usr/lib/modules/{RELEASE}"),
        (f"lib/modules/{RELEASE}/vmlinuz", f"lib/modules/{RELEASE}"),
    ],
)
def test_where_modules_lie(tmp_path, place, modules) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_bytes(BZIMAGE)
    assert module_folder(read_image(path)) is None
    (tmp_path / modules / "kernel").mkdir(parents=True)
    assert module_folder(read_image(path)) == tmp_path / modules
