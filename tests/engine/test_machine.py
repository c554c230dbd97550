"""The machine: sessions on its functions, with the meaning they have in the kernel."""

from __future__ import annotations

import errno
import struct
import threading
from pathlib import Path

import pytest

from fsession.btf.types import Func
from fsession.engine import Machine, execute
from fsession.engine.functions import call_test_functions
from fsession.errors import KernelError, NotFoundError, UnsupportedError, VerifierError
from fsession.host import Feature, LoadRequest
from fsession.isa.asm import assemble
from fsession.isa.insn import encode
from fsession.uapi import AttachType, ProgType

FENTRY, FEXIT, SESSION = (
    AttachType.TRACE_FENTRY,
    AttachType.TRACE_FEXIT,
    AttachType.TRACE_FSESSION,
)
TEST1 = "bpf_fentry_test1"

# Appends a word to the array: its first value counts. r9 is the word; r1 to r5 are lost.
APPEND = """
    *(u32 *)(r10 -4) = 0
    r1 = map[fd:{fd}]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem#1
    if r0 == 0 goto end{n}
    r8 = 1
    r8 = atomic64_fetch_add((u64 *)(r0 +0), r8)
    r8 += 1
    *(u32 *)(r10 -4) = r8
    r1 = map[fd:{fd}]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem#1
    if r0 == 0 goto end{n}
    *(u64 *)(r0 +0) = r9
end{n}:
"""


def append(numbers, n=0):
    return APPEND.format(fd=numbers.fd, n=n)


def log(numbers, word):
    """A program that appends the number `word` << 1, | 1 in the exit phase."""
    return f"""
        call bpf_session_is_return
        r9 = r0
        r9 |= {word << 1}
        {append(numbers)}
        r0 = 0
        exit
    """


def logged(numbers):
    count, *words = numbers.words()
    return words[:count]


def test_a_session_runs_on_both_sides(machine, program, numbers):
    with program(log(numbers, 5), TEST1) as loaded:
        with machine.link(loaded, SESSION) as link:
            assert machine.function(TEST1)(41) == 42
            assert link.info.program_id == loaded.id
        assert machine.function(TEST1)(1) == 2
        assert loaded.info.run_cnt == 2
    assert logged(numbers) == [10, 11]


def test_the_newest_runs_first_on_both_sides(machine, program, numbers):
    entry = f"r9 = 100\n{append(numbers)} r0 = 0\n exit"
    loaded = [
        (program(log(numbers, 1), TEST1), SESSION),
        (program(entry, TEST1, FENTRY), FENTRY),
        (program(log(numbers, 2), TEST1), SESSION),
        (program(entry.replace("100", "200"), TEST1, FEXIT), FEXIT),
    ]
    links = [machine.link(each, kind) for each, kind in loaded]
    machine.function(TEST1)(1)
    assert logged(numbers) == [4, 100, 2, 200, 5, 3]
    links[0].close()
    links[0] = machine.link(loaded[0][0], SESSION)  # goes to the head
    machine.function(TEST1)(1)
    assert logged(numbers)[6:] == [2, 4, 100, 3, 200, 5]


COOKIE = """
    r6 = r1
    call bpf_session_cookie
    r7 = r0
    r1 = r6
    call bpf_session_is_return
    if r0 != 0 goto back
    r1 = *(u64 *)(r7 +0)
    r1 += {add}
    r2 = *(u64 *)(r6 +0)
    r1 += r2
    *(u64 *)(r7 +0) = r1
    r0 = 0
    exit
back:
    r9 = *(u64 *)(r7 +0)
    {append}
    r0 = 0
    exit
"""


def test_each_session_has_its_own_cookie_that_starts_as_0(machine, program, numbers):
    texts = [COOKIE.format(add=add, append=append(numbers)) for add in (100, 200, 300)]
    for text in (texts[0], log(numbers, 0), texts[1], texts[2]):
        machine.link(program(text, TEST1), SESSION)
    for number in (1, 2):
        machine.function(TEST1)(number)
    words = [word for word in logged(numbers) if word > 1]
    assert words == [301, 201, 101, 302, 202, 102]


def test_the_return_value_is_0_at_the_entry(machine, program, numbers):
    text = f"r6 = r1\n r9 = *(u64 *)(r6 +8)\n{append(numbers)} r0 = 0\n exit"
    machine.link(program(text, TEST1), SESSION)
    machine.function(TEST1)(6)
    assert logged(numbers) == [0, 7]


ARGUMENTS = [
    ("long f(long a)", 1),
    ("long f(int a, long b, long c, long d, long e, long g)", 6),
    ("long f(long a, long b, long c, long d, long e, long g, long h)", 7),
    ("long f(" + ", ".join(f"long a{at}" for at in range(12)) + ")", 12),
]


@pytest.mark.parametrize(("declaration", "count"), ARGUMENTS)
def test_arguments(machine, program, numbers, declaration, count):
    """Those the body gets, those the program sees in each phase, and the result."""
    body = machine.define(declaration, lambda *args: sum(args) * 3)
    text = f"r6 = r1\n r9 = *(u64 *)(r6 +{8 * (count - 1)})\n{append(numbers)}"
    text += f"r9 = *(u64 *)(r6 +{8 * count})\n{append(numbers, 1)} r0 = 0\n exit"
    args = [10**at for at in range(count)]
    assert body(*args) == 3 * sum(args)
    with machine.link(program(text, "f"), SESSION):
        assert body(*args) == 3 * sum(args)
    assert logged(numbers) == [args[-1], 0, args[-1], 3 * sum(args)]


STRUCTS = [
    ("1", (struct.pack("<qq", 7, -9), 3, 4), 4, 5),
    ("2", (3, struct.pack("<qq", -2, 20), 4), 4, 25),
    ("3", (3, 4, struct.pack("<qq", 5, 6)), 6, 18),
    ("4", (struct.pack("<i", -1), 2, 3, 4, struct.pack("<qq", 5, 6)), 6, 19),
    ("7", (1, 2, -3, 4, 5, struct.pack("<Qii", 6, 7, -1)), 7, 22),
    ("8", (1, 2, -3, 4, 5, struct.pack("<Qii", 6, 7, -1), 80), 80, 102),
]


@pytest.mark.parametrize(
    ("number", "args", "last", "result"), STRUCTS, ids=[row[0] for row in STRUCTS]
)
def test_structs_by_value(machine, program, numbers, number, args, last, result):
    """The test module's functions: the last word and the result, at the entry and at the exit. The
    struct of 7 and 8 has no room in x86's registers, the number behind it in 8 has."""
    name = f"bpf_testmod_test_struct_arg_{number}"
    function = machine.function(name)
    assert function(*args) == result
    place = 8 * function.model.slots
    text = f"r6 = r1\n r9 = *(u32 *)(r6 +{place - 8})\n{append(numbers)}"
    text += f"r9 = *(u32 *)(r6 +{place})\n{append(numbers, 1)} r0 = 0\n exit"
    with machine.link(program(text, name), SESSION):
        assert function(*args) == result
    assert logged(numbers) == [last, 0, last, result]


def test_fmod_ret_replaces_the_function(machine, program, numbers):
    target = "bpf_modify_return_test"
    called = []
    function = machine.define(f"int {target}(int a, int *b)", lambda a, b: called.append(a))
    deny = program("r0 = -7\n exit", target, AttachType.MODIFY_RETURN)
    machine.link(program(f"r6 = r1\n r9 = *(u64 *)(r6 +16)\n{append(numbers)} r0 = 0\n exit",
                         target, FEXIT), FEXIT)  # fmt: skip
    with machine.link(deny, AttachType.MODIFY_RETURN):
        assert function(1, 0) == -7
        assert not called
        assert logged(numbers) == [(1 << 64) - 7]
    function(2, 0)
    assert called == [2]


def test_attach_cookie_and_address_of_the_function(machine, program, numbers):
    text = f"""
        r6 = r1
        call bpf_get_attach_cookie#174
        r9 = r0
        {append(numbers)}
        r1 = r6
        call bpf_get_func_ip#173
        r9 = r0
        {append(numbers, 1)}
        r0 = 0
        exit
    """
    loaded = program(text, TEST1)
    machine.link(loaded, SESSION, cookie=0x1234)
    machine.function(TEST1)(1)
    address = machine.symbol(TEST1)
    assert logged(numbers) == [0x1234, address] * 2


def test_the_program_that_runs_is_not_started_again(machine, program, numbers):
    """The target is called by a helper of the program: that call is a miss on both sides."""
    inner = machine.function(TEST1)
    outer = machine.define("int outer(int a)", lambda a: inner(a))
    with machine.link(program(log(numbers, 1), "outer"), SESSION):
        assert outer(1) == 2
    recursive = machine.define("int down(int n)", lambda n: recursive(n - 1) + 1 if n else 0)
    loaded = program(log(numbers, 2), "down")
    with machine.link(loaded, SESSION):
        assert recursive(3) == 3
    assert logged(numbers) == [2, 3, *[4] * 4, *[5] * 4]
    assert loaded.info.recursion_misses == 0
    text = (
        "r1 = 0\n *(u64 *)(r10 -8) = 10\n r1 = r10\n r1 += -8\n r2 = 2\n call bpf_trace_printk#6\n"
    )
    machine.print = lambda _: inner(1)  # a helper that calls the traced function
    nested = program(text + "r0 = 0\n exit", TEST1)
    with machine.link(nested, SESSION):
        inner(1)
    assert (nested.info.run_cnt, nested.info.recursion_misses) == (2, 4)


def test_limits(machine, program):
    text = "r0 = 0\n exit"
    links = [machine.link(program(text, TEST1), SESSION) for _ in range(18)]
    one_more = program(text, TEST1)
    with pytest.raises(KernelError) as failure:
        machine.link(one_more, SESSION)
    assert failure.value.errno == errno.E2BIG
    assert machine.function(TEST1)(1) == 2
    for link in links:
        link.close()
    assert machine.function(TEST1)(1) == 2


def test_one_program_once(machine, program):
    loaded = program("r0 = 0\n exit", TEST1)
    machine.link(loaded, SESSION)
    with pytest.raises(KernelError) as failure:
        machine.link(loaded, SESSION)
    assert failure.value.errno == errno.EBUSY


def test_an_entry_that_someone_else_changed(machine, program):
    from fsession.engine.jit.code import write_code

    function = machine.define("int mine(int a)", lambda a: a)
    write_code(function.address, b"\x66\x90\x90\x90\x90"[:4])
    with pytest.raises(KernelError) as failure:
        machine.link(program("r0 = 0\n exit", "mine"), SESSION)
    assert failure.value.errno == errno.EBUSY


REFUSED = [
    ("no function of the machine", "icmp_rcv", SESSION, "r0 = 0\n exit", errno.ENOENT),
    ("a session kfunc elsewhere", TEST1, FENTRY, "call bpf_session_cookie\n exit", errno.EACCES),
]


@pytest.mark.parametrize(("name", "target", "kind", "text", "number"), REFUSED)
def test_loads_that_are_refused(machine, program, name, target, kind, text, number):
    if machine.types().find(target, Func) is None:
        pytest.skip(f"this kernel's BTF has no {target}")
    with pytest.raises(KernelError) as failure:
        program(text, target, kind)
    assert failure.value.errno == number


def test_a_helper_that_the_engine_lacks_is_named(program):
    with pytest.raises(UnsupportedError, match="bpf_override_return"):
        program("call bpf_override_return#58\n r0 = 0\n exit", TEST1)


def test_links_do_not_detach_by_force(machine, program):
    with machine.link(program("r0 = 0\n exit", TEST1), SESSION) as link:
        with pytest.raises(KernelError) as failure:
            link.detach()
        assert failure.value.errno == errno.EOPNOTSUPP


def test_an_architecture_that_nobody_wrote_for(monkeypatch):
    """The table of architectures has a row for each that there is: the default is no."""
    monkeypatch.setattr("fsession.engine.jit.ARCHITECTURES", {})
    with Machine(verify=False) as machine:
        assert not any(map(machine.supports, Feature))
        for kind in (ProgType.TRACING, ProgType.SYSCALL):
            with pytest.raises(KernelError) as failure:
                machine.load(LoadRequest("p", kind, assemble("r0 = 0\n exit"), SESSION))
            assert failure.value.errno == errno.EOPNOTSUPP
    code = encode(assemble("r0 = 7\n exit"))
    assert execute(code) == 7
    with pytest.raises(UnsupportedError):
        execute(code, mode="jit")


def test_one_link_for_many_functions(machine, program, numbers):
    kind = AttachType.TRACE_FSESSION_MULTI
    loaded = program(log(numbers, 3), "", kind)
    names = [TEST1, "bpf_fentry_test2", "bpf_fentry_test3"]
    ids = [machine.types().id_of(name, Func) for name in names]
    with pytest.raises(KernelError) as failure:
        machine.link_multi(loaded, kind, [ids[0], ids[0]])
    assert failure.value.errno == errno.EINVAL
    with machine.link_multi(loaded, kind, ids):
        call_test_functions(machine.function, SESSION)
    assert logged(numbers) == [6, 7] * 3


def test_a_program_as_target(machine, program, numbers):
    from fsession.btf.encode import Builder
    from fsession.btf.types import FuncProto, Int, Param, Ptr, TypeId
    from fsession.spec import FuncInfo

    build = Builder()
    number = build.add(Int("int", 4, 32, 1))
    proto = build.add(FuncProto(number, (Param("ctx", build.add(Ptr(TypeId(0)))),)))
    main = build.add(Func("main", proto, 1))
    request = LoadRequest(
        "main",
        ProgType.SYSCALL,
        assemble("r0 = 33\n exit"),
        types=build.types(),
        funcs=(FuncInfo(0, main),),
    )
    with machine.load(request) as target:
        text = f"r6 = r1\n r9 = *(u64 *)(r6 +8)\n{append(numbers)} r0 = 0\n exit"
        tracing = LoadRequest(
            "tracer", ProgType.TRACING, assemble(text), SESSION, main, attach_program=target
        )
        with machine.load(tracing) as loaded:
            with machine.link(loaded, SESSION):
                assert target.test_run().retval == 33
            assert target.test_run().retval == 33
    assert logged(numbers) == [0, 33]


def test_test_run_of_a_session_calls_the_test_functions(machine, program, numbers):
    loaded = program(log(numbers, 9), TEST1)
    with machine.link(loaded, SESSION):
        assert loaded.test_run().retval == 0
    assert logged(numbers) == [18, 19]


def test_a_load_that_faults_reads_0(program):
    loaded = program("r1 = 8\n r0 = *(u64 *)(r1 +0)\n r0 += 5\n exit", kind=None)
    assert loaded.test_run().retval == 5


def test_objects_by_their_types(machine):
    if machine.types().find("sk_buff") is None:
        pytest.skip("this kernel's BTF cannot be read")
    skb = machine.new("struct sk_buff", len=84)
    skb.data_len = 7
    assert (skb.len, skb.data_len, skb.mac_len) == (84, 7, 0)
    with pytest.raises(NotFoundError, match="no field named 'length'"):
        skb.length = 1


def test_exceptions_of_a_body_come_out_of_the_call(machine):
    def body(_):
        raise RuntimeError("not today")

    function = machine.define("int fails(int a)", body)
    with pytest.raises(RuntimeError, match="not today"):
        function(1)


def test_verification_is_not_skipped_by_accident(program):
    from fsession.engine import Machine

    request = LoadRequest("x", ProgType.SYSCALL, assemble("r0 = *(u64 *)(r2 +0)\n exit"))
    with Machine() as strict, pytest.raises((UnsupportedError, VerifierError)):
        strict.load(request)


def test_threads_while_sessions_come_and_go(machine, program, numbers):
    """No wrong result, exact counters, no image left."""
    function = machine.function("bpf_fentry_test2")
    kept = program("r0 = 0\n exit", "bpf_fentry_test2", name="kept")
    other = program("r0 = 0\n exit", "bpf_fentry_test2", FENTRY)
    wrong, calls = [], 3000

    def call(number):
        wrong.extend(at for at in range(calls) if function(number, at) != number + at)

    with machine.link(kept, SESSION):
        crowd = [threading.Thread(target=call, args=(number,)) for number in range(4)]
        for thread in crowd:
            thread.start()
        changes = 0
        while any(thread.is_alive() for thread in crowd):
            machine.link(other, FENTRY).close()
            changes += 1
        for thread in crowd:
            thread.join()
    assert not wrong
    assert changes > 1
    info = kept.info
    assert info.run_cnt + info.recursion_misses == 2 * calls * len(crowd)
    machine.graveyard.sweep()
    assert len(machine.graveyard) == 0


@pytest.mark.parametrize("way", ["memory file", "pages replaced"])
def test_code_is_changed_and_stays_read_only(machine, program, way, monkeypatch):
    if way == "pages replaced":

        def refuse(*_):
            raise OSError(errno.EIO, "no")

        monkeypatch.setattr("os.pwrite", refuse)
    loaded = program("r0 = 0\n exit", TEST1)
    for _ in range(3):
        with machine.link(loaded, SESSION):
            assert machine.function(TEST1)(1) == 2
        assert machine.function(TEST1)(1) == 2
    assert loaded.info.run_cnt == 6
    pages = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    for address in (machine.symbol(TEST1), loaded.entry):
        (rights,) = [
            rights
            for place, rights, *_ in pages
            if int(place.split("-")[0], 16) <= address < int(place.split("-")[1], 16)
        ]
        assert rights == "r-xp"
