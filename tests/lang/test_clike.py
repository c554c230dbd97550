"""The text like C is C: compiled by gcc, it computes what the instructions do."""

from __future__ import annotations

import ctypes
import subprocess

import pytest

from fsession.btf.encode import Builder as BtfBuilder
from fsession.btf.types import Enum, Enumerator, Int
from fsession.lang.clike import show_c
from fsession.lang.ctypes import Catalog
from fsession.lang.link import finish
from fsession.lang.source import Source
from lang.test_python import FUNCTIONS, INPUTS, U64, compiled

PROLOGUE = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned u32;
typedef unsigned long long u64;
typedef signed char s8; typedef short s16; typedef int s32; typedef long long s64;
static u64 bpf_loop(u64 count, u64 (*round)(u64, void *), void *shared, u64 flags) {
    u64 at = 0;
    while (at < count && !round(at, shared)) at++;
    return at;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    builder = BtfBuilder()
    builder.add(Int("int", 4, 32, 1))
    builder.add(Enum("bpf_func_id", 4, (Enumerator("BPF_FUNC_loop", 181),)))
    catalog = Catalog(builder.types())
    parts = [part for sample in FUNCTIONS for part in finish(compiled(catalog, *Source.of(sample)))]
    texts = [show_c(part) for part in parts]
    heads = [f"u64 {part.name}({'u64, ' * (len(part.params) - 1)}u64);" for part in parts]
    path = tmp_path_factory.mktemp("clike") / "samples.so"
    command = ["gcc", "-w", "-O1", "-fwrapv", "-fno-strict-aliasing", "-shared", "-fPIC", "-xc"]
    source = "\n".join([PROLOGUE, *heads, *texts])
    subprocess.run([*command, "-", "-o", path], input=source.encode(), check=True)
    return ctypes.CDLL(str(path))


@pytest.mark.parametrize("sample", FUNCTIONS, ids=lambda sample: sample.__name__)
def test_computes_the_same(library, sample):
    function = library[sample.__name__]
    function.argtypes = [ctypes.c_longlong] * 5
    function.restype = ctypes.c_ulonglong
    for words in INPUTS:
        assert function(*words) == int(sample(*words) or 0) & U64
