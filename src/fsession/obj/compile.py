"""Compile a BPF program in C: with the machine's clang, else with the ``ziglang`` package.

The program finds ``"vmlinux.h"``, made from the types it is given, and ``<bpf/bpf_helpers.h>`` and
its neighbours, from libbpf-dev where that is installed and from `fsession.include` elsewhere.
The object is CO-RE: compiled anywhere, it fits itself to the kernel that loads it.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.errors import BadInputError, CompileError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fsession.btf.catalog import Types

__all__ = ["compile_c", "find_compiler", "vmlinux_text"]

_OURS = Path(__file__).parent.parent / "include"
_LIBBPF = Path("/usr/include/bpf")
# Of programs that include <linux/bpf.h> instead of "vmlinux.h", on Debian's multiarch layout.
_UAPI_DIRS = ("/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu", "/usr/include")
_TARGET_MACRO = {"x86_64": "__TARGET_ARCH_x86", "arm64": "__TARGET_ARCH_arm64"}
_FLAGS = ("-g", "-O2", "-mcpu=v3", "-Wall", "-Wno-unused-function", "-fno-stack-protector", "-c")
_TIMEOUT_S = 300  # zig builds parts of itself at its first run

# <file>:<line>:<column>: error: <message>
_DIAGNOSTIC = re.compile(r"^(.+?):(\d+):(\d+): (?:fatal )?error: (.*)$", re.MULTILINE)

# Kernels before 7.0 have kfuncs of these names for kprobe sessions, without a parameter. A program
# is written for the context form, and may be for a kernel that has none of them.
_SESSION_KFUNC = re.compile(r"^.*\bbpf_session_(?:is_return|cookie)\(.*$\n?", re.MULTILINE)
_SESSION_DECLARATIONS = """
#ifndef FSESSION_SESSION_KFUNCS
#define FSESSION_SESSION_KFUNCS
extern _Bool bpf_session_is_return(void *ctx) __attribute__((section(".ksyms"), weak));
extern __u64 *bpf_session_cookie(void *ctx) __attribute__((section(".ksyms"), weak));
#endif
"""


def compile_c(
    source: Path,
    *,
    types: Types | None = None,
    arch: str = "x86_64",
    include_dirs: Sequence[Path] = (),
    cache_dir: Path | None = None,
    compiler: Sequence[str] | None = None,
    headers: Path | None = None,
) -> bytes:
    """The ELF object of a C file.

    `types` becomes its ``vmlinux.h``; `arch` chooses the ``__TARGET_ARCH_…`` macro; `cache_dir`
    keeps the header for the next time. `compiler` is a command, by default `find_compiler`'s, and
    `headers` the folder of ``bpf/bpf_helpers.h``, by default libbpf's or ours. Raises
    `CompileError` with the compiler's first error (all of its words are a note), and
    `UnsupportedError` where there is no compiler.
    """
    import tempfile

    if not source.is_file():
        raise CompileError("there is no such file", str(source))
    if arch not in _TARGET_MACRO:
        raise BadInputError(f"programs are not compiled for '{arch}': x86_64 or arm64")
    command = [*(compiler or find_compiler()), *_FLAGS, f"-D{_TARGET_MACRO[arch]}"]
    with tempfile.TemporaryDirectory(prefix="fsession-") as folder:
        scratch = Path(folder)
        with _vmlinux_dir(types, cache_dir, scratch) as vmlinux:
            bpf = [headers] if headers else _header_dirs(scratch)
            for place in (*include_dirs, source.parent, *vmlinux, *bpf):
                command += ["-I", str(place)]
            for uapi in filter(os.path.isdir, _UAPI_DIRS):
                command += ["-idirafter", uapi]
            out = scratch / "program.o"
            _run([*command, str(source), "-o", str(out)], source, _zig_dir(cache_dir, scratch))
        return out.read_bytes()


def find_compiler() -> list[str]:
    """The command that compiles C for BPF: ``$CLANG``, clang, or ziglang's."""
    from importlib.util import find_spec
    from shutil import which

    clang = os.environ.get("CLANG") or which("clang")
    if clang:
        return [clang, "-target", "bpf"]
    if find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding"]
    raise UnsupportedError("compiling C (no clang, no ziglang package)").hint(
        "apt install clang, or pip install 'fsession[clang]'; or compile elsewhere and run the .o"
    )


def vmlinux_text(types: Types) -> str:
    """``vmlinux.h`` of `types`, with the session kfuncs as Linux 7.0 declares them."""
    from fsession.btf.vmlinux_h import vmlinux_h

    text = _SESSION_KFUNC.sub("", "".join(f"{line}\n" for line in vmlinux_h(types)))
    return text + _SESSION_DECLARATIONS


@contextmanager
def _vmlinux_dir(
    types: Types | None, cache_dir: Path | None, scratch: Path
) -> Iterator[list[Path]]:
    """Folders with ``vmlinux.h``: none without types, in the cache where it can be written."""
    if types is None:
        yield []
        return
    from hashlib import sha256

    key = sha256(types.data + _SESSION_DECLARATIONS.encode()).hexdigest()[:32]
    folder = cache_dir / "vmlinux" / key if cache_dir else scratch / "vmlinux"
    if not (folder / "vmlinux.h").exists():
        text = vmlinux_text(types)
        try:
            _write_atomically(folder / "vmlinux.h", text)
        except OSError:  # a full or read-only cache costs time, not the result
            folder = scratch / "vmlinux"
            _write_atomically(folder / "vmlinux.h", text)
    yield [folder]


def _write_atomically(path: Path, text: str) -> None:
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as out:
        try:
            out.write(text)
            out.close()
            Path(out.name).replace(path)
        except OSError:
            Path(out.name).unlink(missing_ok=True)
            raise


def _header_dirs(scratch: Path) -> list[Path]:
    """A folder whose ``bpf/`` is libbpf's, where that is installed, and ours behind it."""
    if not (_LIBBPF / "bpf_helpers.h").exists():
        return [_OURS]
    # Not /usr/include itself: its other headers are not for this target.
    (scratch / "libbpf").mkdir()
    (scratch / "libbpf" / "bpf").symlink_to(_LIBBPF)
    return [scratch / "libbpf", _OURS]


def _zig_dir(cache_dir: Path | None, scratch: Path) -> Path:
    """Where Zig may keep things. It waits forever for a folder that can't be made."""
    folder = (cache_dir or scratch) / "zig"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return scratch
    return folder if os.access(folder, os.W_OK) else scratch


def _run(command: list[str], source: Path, zig_dir: Path) -> None:
    import subprocess

    folders = dict.fromkeys(("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), str(zig_dir))
    environment = {**folders, **os.environ}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment
        )
    except OSError as error:
        raise UnsupportedError(f"the compiler '{command[0]}' ({error.strerror})").hint(
            "is $CLANG a compiler? apt install clang, or pip install 'fsession[clang]'"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CompileError(f"the compiler took over {_TIMEOUT_S} s", str(source)) from error
    if done.returncode:
        raise _compile_error(done.stderr, source)


def _compile_error(words: str, source: Path) -> CompileError:
    found = _DIAGNOSTIC.search(words)
    if found:
        error = CompileError(found[4], found[1], int(found[2]), int(found[3]))
    else:
        last = words.strip().splitlines()[-1:] or ["the compiler said nothing"]
        error = CompileError(last[0], str(source))
    error.add_note(words.strip())
    return error
