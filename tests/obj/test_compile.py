"""Compiling C: both compilers, both sets of headers, errors with their place, the cache."""

from __future__ import annotations

import os
from pathlib import Path
from shutil import which

import pytest
from tests.obj.build import OURS, TOOLCHAINS, TYPES, ZIG

from fsession.btf.catalog import Types
from fsession.btf.encode import Builder
from fsession.btf.types import VOID, Func, FuncProto, Int, Param, Ptr, Typedef
from fsession.errors import BadInputError, CompileError, UnsupportedError
from fsession.obj import compile_c, find_compiler, read_object, vmlinux_text
from fsession.spec import KfuncCall

CASES = Path(__file__).parents[3] / "shared" / "cases"
HEAD = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_tracing.h>\n'
SESSION = """
SEC("fsession/f")
int BPF_PROG(p, void *skb)
{
	u64 *cookie = bpf_session_cookie(ctx);

	if (!bpf_session_is_return(ctx))
		*cookie = 0xDEADBEEF;
	return BPF_OK;
}
"""


def kernel_types(*, session: str) -> Types:
    """Types of a kernel whose session kfuncs are as in Linux 7.0, as in 6.12, or not there."""
    build = Builder()
    names = {
        "char": ("s8", 1, 1), "unsigned char": ("u8", 1, 0), "short": ("s16", 2, 1),
        "unsigned short": ("u16", 2, 0), "int": ("s32", 4, 1), "unsigned int": ("u32", 4, 0),
        "long long": ("s64", 8, 1), "unsigned long long": ("u64", 8, 0),
    }  # fmt: skip
    ids = {}
    for name, (short, size, encoding) in names.items():
        id = build.add(Int(name, size, size * 8, encoding))
        ids[short] = build.add(Typedef(short, build.add(Typedef(f"__{short}", id))))
    build.add(Typedef("bool", build.add(Int("_Bool", 1, 8, 4))))
    for alias, of in (("__be16", "u16"), ("__be32", "u32"), ("__be64", "u64"), ("__wsum", "u32")):
        build.add(Typedef(alias, ids[of]))
    if session:
        params = (Param("ctx", build.add(Ptr(VOID))),) if session == "7.0" else ()
        proto = build.add(FuncProto(build.add(Ptr(ids["u64"])), params))
        build.add(Func("bpf_session_cookie", proto, 1))
    return build.types()


@pytest.mark.parametrize("session", ["7.0", "6.12", ""])
@pytest.mark.parametrize("chain", TOOLCHAINS, ids=lambda chain: chain.name)
def test_session_kfuncs_are_declared_whatever_the_kernel_has(tmp_path, chain, session):
    source = tmp_path / "p.bpf.c"
    source.write_text(HEAD + "#ifndef BPF_OK\n#define BPF_OK 0\n#endif\n" + SESSION)
    data = compile_c(
        source,
        types=kernel_types(session=session),
        compiler=_available(chain.compiler),
        headers=chain.headers,
    )
    (program,) = read_object(data, "p").programs
    calls = [reloc for reloc in program.relocs if isinstance(reloc, KfuncCall)]
    assert {call.name for call in calls} == {"bpf_session_cookie", "bpf_session_is_return"}
    assert program.types is not None
    assert all(len(program.types.prototype(call.type).params) == 1 for call in calls)


def _available(compiler: tuple[str, ...]) -> tuple[str, ...]:
    if not which(compiler[0]):
        pytest.skip(f"no {compiler[0]}")
    return compiler


def test_zig_with_an_empty_cache_and_no_home(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("ZIG_", "XDG_")) or name == "HOME":
            monkeypatch.delenv(name)
    source = tmp_path / "p.bpf.c"
    source.write_text(HEAD + SESSION)
    cache = tmp_path / "cache"
    data = compile_c(source, include_dirs=[TYPES], compiler=ZIG, headers=OURS, cache_dir=cache)
    assert read_object(data, "p").programs[0].name == "p"
    assert list(cache.iterdir()) == [cache / "zig"]


def test_the_machines_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("CLANG", "/opt/clang")
    assert find_compiler() == ["/opt/clang", "-target", "bpf"]
    monkeypatch.delenv("CLANG")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compiler() == list(ZIG)


def test_no_compiler_at_all(monkeypatch, tmp_path):
    monkeypatch.delenv("CLANG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="no clang, no ziglang") as caught:
        find_compiler()
    assert "apt install clang" in caught.value.__notes__[0]


ERRORS = [
    # name, source, line, column, words
    ("undeclared", "int f(void) { return x; }\n", 1, 22, "use of undeclared identifier 'x'"),
    ("header", '\n#include "nothing.h"\n', 2, 10, "'nothing.h' file not found"),
    ("directive", "\n\n#error told so\n", 3, 2, "told so"),
]


@pytest.mark.parametrize("compiler", [("clang", "-target", "bpf"), ZIG], ids=["clang", "zig"])
@pytest.mark.parametrize(
    ("text", "line", "column", "words"), [row[1:] for row in ERRORS], ids=[r[0] for r in ERRORS]
)
def test_errors_say_where(tmp_path, compiler, text, line, column, words):
    source = tmp_path / "wrong.bpf.c"
    source.write_text(text)
    with pytest.raises(CompileError) as caught:
        compile_c(source, compiler=_available(compiler))
    error = caught.value
    assert (error.file, error.line, error.column) == (str(source), line, column)
    assert words in str(error)
    assert words in error.__notes__[0]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CompileError, match="there is no such file"):
        compile_c(tmp_path / "none.bpf.c")


def test_an_architecture_that_is_none_of_ours(tmp_path):
    source = tmp_path / "p.bpf.c"
    source.touch()
    with pytest.raises(BadInputError, match="'riscv'"):
        compile_c(source, arch="riscv")


@pytest.mark.parametrize(("arch", "macro"), [("x86_64", "x86"), ("arm64", "arm64")])
def test_the_architecture_is_a_macro(tmp_path, arch, macro):
    source = tmp_path / "p.bpf.c"
    source.write_text(f"#ifndef __TARGET_ARCH_{macro}\n#error not for {macro}\n#endif\n")
    assert compile_c(source, arch=arch)


def test_programs_without_vmlinux_h(tmp_path):
    """The kernel's user headers, where they are installed."""
    if not Path("/usr/include/linux/bpf.h").exists():
        pytest.skip("no linux-libc-dev")
    source = tmp_path / "p.bpf.c"
    source.write_text(
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"
        'SEC("raw_tp") int p(void *ctx) { return bpf_get_smp_processor_id(); }\n'
    )
    for chain in TOOLCHAINS:
        data = compile_c(source, compiler=_available(chain.compiler), headers=chain.headers)
        assert read_object(data, "p").programs[0].section == "raw_tp"


def test_the_header_is_made_once(tmp_path, monkeypatch):
    source, cache = tmp_path / "p.bpf.c", tmp_path / "cache"
    source.write_text(HEAD + SESSION)
    types = kernel_types(session="7.0")
    first = compile_c(source, types=types, cache_dir=cache, headers=OURS)
    (header,) = cache.glob("vmlinux/*/vmlinux.h")
    assert header.read_text() == vmlinux_text(types)
    monkeypatch.setattr("fsession.obj.compile.vmlinux_text", lambda types: "#error made again")
    assert compile_c(source, types=types, cache_dir=cache, headers=OURS) == first


def test_a_cache_that_can_not_be_written(tmp_path):
    source, cache = tmp_path / "p.bpf.c", tmp_path / "cache"
    source.write_text(HEAD + SESSION)
    cache.write_text("in the way")
    types = kernel_types(session="7.0")
    for compiler in (None, ZIG):
        assert compile_c(source, types=types, cache_dir=cache, headers=OURS, compiler=compiler)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.skipif(not CASES.exists(), reason="no shared cases beside the checkout")
@pytest.mark.parametrize("chain", TOOLCHAINS, ids=lambda chain: chain.name)
def test_the_cases_compile_unchanged(chain, cache):
    vmlinux = Path("/sys/kernel/btf/vmlinux")
    if not vmlinux.exists():
        pytest.skip("this kernel has no BTF")
    types = Types.from_bytes(vmlinux.read_bytes())
    compiler = _available(chain.compiler)
    for source in sorted(CASES.glob("*.bpf.c")):
        data = compile_c(
            source, types=types, compiler=compiler, headers=chain.headers, cache_dir=cache
        )
        (program,) = read_object(data, source.stem).programs
        assert (program.name, program.target) == ("fsession__icmp_rcv", "icmp_rcv")
        assert any(isinstance(reloc, KfuncCall) for reloc in program.relocs)
