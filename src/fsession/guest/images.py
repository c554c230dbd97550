"""Kernel images that a user names by their path: what they are for, and which release they hold."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from pathlib import Path

from fsession.errors import BadInputError
from fsession.frozen import frozen

__all__ = ["KernelImage", "module_folder", "read_image"]

_SMALLEST_BYTES = 4096


@frozen
class KernelImage:
    """`arch` is a machine's name; `release` what ``uname -r`` will say, empty if not found."""

    path: Path
    arch: str
    release: str


def read_image(path: Path) -> KernelImage:
    """Tell a bzImage, an arm64 Image (plain or gzipped) and an ELF vmlinux apart."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"can't read the kernel image {path}: {error.strerror}") from error
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise BadInputError(f"{path}: broken gzip data ({error})") from error
    for matches, arch, release in _KINDS:
        if len(content) > _SMALLEST_BYTES and matches(content):
            return KernelImage(path, arch, release(content))
    raise BadInputError(f"{path} is no kernel image (bzImage, Image or vmlinux)").hint(
        "on Debian they are /boot/vmlinuz-RELEASE"
    )


def module_folder(image: KernelImage) -> Path | None:
    """Where the modules of `image` lie: beside it, or below the root its ``boot`` is in."""
    if not image.release:
        return None
    root = image.path.resolve().parent.parent
    places = [
        image.path.resolve().parent,
        root / "lib/modules" / image.release,
        root / "usr/lib/modules" / image.release,
        Path("/lib/modules") / image.release,
    ]
    return next((place for place in places if (place / "kernel").is_dir()), None)


def _is_bzimage(content: bytes) -> bool:
    return content[0x202:0x206] == b"HdrS"  # Documentation/arch/x86/boot.rst


def _is_arm64(content: bytes) -> bool:
    return content[0x38:0x3C] == b"ARM\x64"  # Documentation/arch/arm64/booting.rst


def _is_efi_zboot_arm64(content: bytes) -> bool:
    """``MZ``, ``zimg`` at 4 and the machine of the PE header (drivers/firmware/efi/libstub)."""
    if content[:2] != b"MZ" or content[4:8] != b"zimg":
        return False
    (header,) = struct.unpack_from("<I", content, 0x3C)
    return content[header + 4 : header + 6] == b"\x64\xaa"  # IMAGE_FILE_MACHINE_ARM64


def _is_elf(machine: int, content: bytes) -> bool:
    return content[:4] == b"\x7fELF" and content[18:20] == struct.pack("<H", machine)


def _bzimage_release(content: bytes) -> str:
    """``kernel_version`` at 0x20E: where the string is, less 0x200."""
    (offset,) = struct.unpack_from("<H", content, 0x20E)
    text = content[0x200 + offset : 0x200 + offset + 256].split(b"\0")[0]
    return text.decode("latin-1").split(" ")[0] if offset else ""


def _banner_release(content: bytes) -> str:
    """As in ``linux_banner``."""
    match = re.search(rb"Linux version (\d\S*) \(", content)
    return match[1].decode("latin-1") if match else ""


_EM_X86_64, _EM_AARCH64 = 62, 183
_KINDS = (
    (_is_bzimage, "x86_64", _bzimage_release),
    (_is_arm64, "arm64", _banner_release),
    (_is_efi_zboot_arm64, "arm64", _banner_release),
    (lambda content: _is_elf(_EM_X86_64, content), "x86_64", _banner_release),
    (lambda content: _is_elf(_EM_AARCH64, content), "arm64", _banner_release),
)
