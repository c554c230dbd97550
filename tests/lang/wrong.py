"""Programs that are wrong, each with what the compiler must say of it."""

# ruff: noqa

import fsession

WRONG: list = []
table = fsession.Hash("u32", "u64")
counts = fsession.Array("u64", 4)
limit = fsession.Global("u64", 5)
TEXT = "nginx"


class Pair(fsession.Struct):
    left: "u32"
    right: "u32"


pairs = fsession.Hash(Pair, "u64")


def wrong(message, target="icmp_rcv"):
    def keep(function):
        WRONG.append((fsession.program(target)(function), message))
        return function

    return keep


def plain(x):
    return x


@wrong("struct net_device has no member 'ifindx'")
def near_member(ctx, skb):
    return skb.dev.ifindx


@wrong("icmp_rcv() has no parameter 'sock'")
def no_parameter(ctx, sock):
    pass


@wrong("the kernel has no function 'no_such_function'", "no_such_function")
def no_function(ctx):
    pass


@wrong("'more' is no plain parameter")
def more_parameters(ctx, skb, *more):
    pass


@wrong("'3' is no plain parameter")
def default_parameter(ctx, skb=3):
    pass


@wrong("'b' is no plain parameter")
def calls_with_keywords(ctx):
    by_keyword(1)


@fsession.function
def by_keyword(a, *, b):
    return a


@wrong("the name 'nothing' is not known here")
def no_name(ctx):
    x = nothing + 1


@wrong("'/' can't be used in a program")
def true_division(ctx, skb):
    x = skb.len / 2


@wrong("'**' can't be used in a program")
def power(ctx, skb):
    x = skb.len**2


@wrong("1.5 can't be used in a program")
def floating(ctx):
    x = 1.5


@wrong("division by 0")
def by_zero(ctx, skb):
    x = skb.len // 0


@wrong("a shift by 64")
def far_shift(ctx, skb):
    x = skb.len << 64


@wrong("340282366920938463463374607431768211456 has more than 64 bits")
def huge(ctx, skb):
    x = skb.len + (1 << 63) * (1 << 63) * 4


@wrong("the kernel takes no result of a tracing program")
def result(ctx, skb):
    return skb.len


@wrong("programs can't write here")
def write_kernel(ctx, skb):
    skb.len = 1


@wrong("'with' can't be used in a program")
def with_statement(ctx):
    with table:
        pass


@wrong("'try' can't be used in a program")
def try_statement(ctx):
    try:
        pass
    except ValueError:
        pass


@wrong("'raise' can't be used in a program")
def raise_statement(ctx):
    raise ValueError


@wrong("'import' can't be used in a program")
def import_statement(ctx):
    import os


@wrong("a list comprehension can't be used in a program")
def comprehension(ctx):
    x = [i for i in range(3)]


@wrong("a lambda can't be used in a program")
def a_lambda(ctx):
    x = lambda: 1


@wrong("a dict can't be used in a program")
def a_dict(ctx):
    x = {}


@wrong("an f-string can't be used in a program")
def f_string(ctx):
    x = f"{ctx}"


@wrong("a loop goes over range(…) only")
def loop_over_map(ctx):
    for key in table:
        pass


@wrong("the step of a range is a constant and not 0")
def no_step(ctx):
    for i in range(0, 5, 0):
        pass


@wrong("4294967296 rounds are too many")
def many_rounds(ctx):
    for i in range(1 << 32):
        pass


@wrong("'else' of a loop can't be used in a program")
def loop_else(ctx):
    for i in range(3):
        pass
    else:
        pass


@wrong("'plain' can't be called in a program")
def call_python(ctx):
    plain(1)


@wrong("ktime_get_ns() takes 0 arguments, not 1")
def helper_arguments(ctx):
    fsession.ktime_get_ns(1)


@wrong("session_cookie() takes the context")
def not_the_context(ctx, skb):
    fsession.session_cookie(skb)


@wrong("the kernel has no type 'struct sk_buf *'")
def no_type(ctx, skb):
    x = fsession.cast("struct sk_buf *", skb)


@wrong("the kernel has no enum 'tcp_stat'")
def no_enum(ctx):
    x = fsession.enum("tcp_stat")


@wrong("emit() takes fields by their names")
def emit_places(ctx, skb):
    fsession.emit(skb.len)


@wrong("this may be None")
def maybe_none(ctx):
    x = table.get(1)
    y = x + 1


@wrong("this may be None")
def emit_none(ctx):
    fsession.emit(value=table.get(1))


@wrong("__u32 is never None")
def never_none(ctx, skb):
    if skb.hash is None:
        return


@wrong("'is' compares with None only")
def is_number(ctx, skb):
    if skb.len is limit:
        return


@wrong("this map takes a struct")
def struct_key(ctx):
    pairs[5] = 1


@wrong("an entry of an array can't be deleted")
def delete_array(ctx):
    del counts[0]


@wrong("'limit' is a global variable")
def assign_global(ctx):
    limit = 3


@wrong("'in' looks into maps and tuples only")
def in_number(ctx, skb):
    if 3 in skb.len:
        return


@wrong("'<' of texts")
def text_order(ctx, skb):
    if skb.dev.name < "lo":
        return


@wrong("__u32 is no text")
def number_as_text(ctx, skb):
    if skb.hash == "x":
        return


@wrong("a slice can't be used in a program")
def a_slice(ctx, skb):
    x = skb.cb[0:2]


@wrong("element 50 of char[48]")
def beyond(ctx, skb):
    x = skb.cb[50]


@wrong("struct net_device is no number and no pointer")
def whole_struct(ctx, skb):
    x = skb.dev[0] + 1


@wrong("unsigned int has no members")
def member_of_number(ctx, skb):
    x = skb.len.bits


@wrong("3 names for something else")
def unpack(ctx, skb):
    a, b, c = 1, 2


@wrong("printk() takes a format and up to 3 values")
def long_printk(ctx):
    fsession.printk("%d %d %d %d", 1, 2, 3, 4)


@wrong("the function returns nothing", "set_user_nice")
def void_result(ctx):
    x = fsession.ret(ctx)


@wrong("arithmetic on a pointer to 232 bytes")
def pointer_sum(ctx, skb):
    x = skb + 1


@wrong("'name' changes its kind in the loop")
def text_in_a_loop(ctx, skb):
    name = skb.dev.name
    while skb.len > 5:
        name = skb.dev.perm_addr


@wrong("the counter of a loop is one name")
def two_counters(ctx):
    for a, b in range(3):
        pass


@wrong("a loop goes over range(…) only")
def over_a_map(ctx):
    for key in table:
        pass


@wrong("programs can't write here", "from_kuid_munged")
def write_by_value(ctx, kuid):
    kuid.val = 1


@wrong("struct kuid_t is no number and no pointer", "from_kuid_munged")
def struct_as_number(ctx, kuid):
    x = kuid + 1


@wrong("kstack() is for the program itself, not for its functions")
def stack_in_function(ctx):
    with_stack()


@fsession.function
def with_stack():
    fsession.emit(stack=fsession.kstack())


@wrong("ustack() takes how many calls to keep at most")
def stack_of_what(ctx):
    fsession.emit(stack=fsession.ustack(depth=3))


@wrong("the depth of a stack is a constant")
def deep_stack(ctx):
    fsession.emit(stack=fsession.kstack(500))


class Inner(fsession.Struct):
    low: "u32"
    high: "u32"


class Outer(fsession.Struct):
    inner: Inner
    count: "u64"


outers = fsession.Hash("u32", Outer)
ring = fsession.RingBuf(Inner, 4096)
words = fsession.RingBuf(size=4096)
stacks = fsession.StackTrace(16)


@wrong("get_func_arg() takes 2 arguments, not 3")
def filled_argument(ctx):
    fsession.get_func_arg(ctx, 0, 5)


@wrong("tracing programs can't call skb_load_bytes()")
def other_helper(ctx, skb):
    fsession.skb_load_bytes(skb, 0, 5, 8)


@wrong("tracing programs can't call ktime_get_coarse_ns()")
def coarse_time(ctx):
    fsession.ktime_get_coarse_ns()


@wrong("copy_from_user() may sleep")
def sleeping_helper(ctx):
    fsession.copy_from_user(fsession.buffer(8), 8, 0)


@wrong("loop() takes a callback, which programs in Python don't have")
def callback(ctx):
    fsession.loop(5, plain, 0, 0)


@wrong("perf_event_output() takes a map of perf events, which programs in Python don't have")
def perf_events(ctx):
    fsession.perf_event_output(ctx, table, 0, "x", 1)


@wrong("get_stackid() takes a StackTrace as 'map'")
def stacks_in_a_hash(ctx):
    fsession.get_stackid(ctx, table)


@wrong("get_stack() takes the context as 'ctx'")
def no_context(ctx, skb):
    fsession.get_stack(skb, fsession.buffer(64), 64, 0)


@wrong("get_stack() takes memory of the program as 'buf'")
def kernel_memory(ctx, skb):
    fsession.get_stack(ctx, skb.dev, 64, 0)


@wrong("80 bytes of memory that has 64")
def beyond_the_buffer(ctx):
    fsession.get_stack(ctx, fsession.buffer(64), 80, 0)


@wrong("get_current_comm() takes a size in bytes as 'size_of_buf'")
def size_of_nothing(ctx):
    fsession.get_current_comm(fsession.buffer(16), 0)


@wrong("the size of a buffer is a constant")
def buffer_of_a_variable(ctx, skb):
    b = fsession.buffer(skb.len)


@wrong("get_task_stack() takes a struct task_struct * as 'task'")
def stack_of_a_packet(ctx, skb):
    fsession.get_task_stack(skb, fsession.buffer(64), 64, 0)


@wrong("get_task_stack() takes a struct task_struct * that the verifier knows as 'task'")
def stack_of_a_number(ctx, skb):
    fsession.get_task_stack(fsession.cast("struct task_struct *", 4096), fsession.buffer(64), 64, 0)


@wrong("map_lookup_elem() takes a map with keys as 'map'")
def lookup_in_a_ring(ctx):
    fsession.map_lookup_elem(ring, 5)


@wrong("map_lookup_elem() takes a map of the program as 'map'")
def lookup_in_nothing(ctx, skb):
    fsession.map_lookup_elem(skb, 5)


@wrong("ringbuf_reserve() takes a constant number as 'size'")
def reserve_a_variable(ctx, skb):
    fsession.ringbuf_reserve(words, skb.len, 0)


@wrong("a RingBuf has no keys in a program")
def ring_with_a_key(ctx):
    ring[5] = 1


@wrong("a StackTrace has no keys in a program")
def stack_by_key(ctx):
    x = stacks[5]


@wrong("a RingBuf has no 'read' in a program")
def ring_read(ctx):
    ring.read()


@wrong("'items' of a map can't be used in a program")
def items_in_a_program(ctx):
    x = table.items()


@wrong("reserve() of a ring buffer without a type of its records")
def reserve_raw(ctx):
    words.reserve()


@wrong("this may be None")
def submit_none(ctx):
    ring.submit(ring.reserve())


@wrong("this is no record")
def submit_a_number(ctx):
    ring.submit(5)


@wrong("'inner' is a struct")
def part_of_a_struct(ctx):
    outers[5] = (7, 8)


@wrong("what ringbuf_reserve() of line N gave is not released on this path")
def kept_record(ctx):
    record = ring.reserve()
    if record is not None:
        record.low = 1


@wrong("this was released before")
def submitted_twice(ctx):
    record = ring.reserve()
    if record is not None:
        ring.submit(record)
        ring.discard(record)


@wrong("this was released before")
def used_after_submit(ctx):
    record = ring.reserve()
    if record is not None:
        ring.submit(record)
        record.low = 1


@wrong("what bpf_task_from_pid() of line N gave is not released on this path")
def kept_task(ctx, skb):
    task = fsession.bpf_task_from_pid(1)
    if task is None:
        return
    if skb.len > 100:
        return
    fsession.bpf_task_release(task)


@wrong("what bpf_task_from_pid() of line N gave is not released on this path")
def kept_in_a_loop(ctx):
    for i in range(3):
        task = fsession.bpf_task_from_pid(i)
        if not task:
            continue


@wrong("bpf_task_release() of what was not acquired")
def release_of_the_current(ctx):
    fsession.bpf_task_release(fsession.get_current_task())


@wrong("this may be None")
def release_of_none(ctx):
    fsession.bpf_task_release(fsession.bpf_task_from_pid(1))


@wrong("bpf_task_from_pid() takes 1 argument, not 2")
def two_pids(ctx):
    fsession.bpf_task_from_pid(1, 2)


@wrong("bpf_task_from_pid() takes a number as 'pid'")
def pid_of_a_packet(ctx, skb):
    fsession.bpf_task_from_pid(skb)


@wrong("tracing programs can't call bpf_path_d_path()")
def for_lsm_programs(ctx):
    fsession.bpf_path_d_path(0, fsession.buffer(8), 8)


@wrong("the program ends here behind bpf_rcu_read_lock()")
def section_not_left(ctx, skb):
    fsession.bpf_rcu_read_lock()
    if skb.len > 100:
        return
    fsession.bpf_rcu_read_unlock()


@wrong("bpf_rcu_read_unlock() where bpf_rcu_read_lock() was not called")
def section_not_entered(ctx, skb):
    if skb.len > 100:
        fsession.bpf_rcu_read_lock()
    fsession.bpf_rcu_read_unlock()


@wrong(
    "bpf_copy_from_user_str() may sleep, which is forbidden behind bpf_rcu_read_lock()",
    "fsession.s/do_unlinkat",
)
def sleep_in_a_section(ctx):
    fsession.bpf_rcu_read_lock()
    fsession.bpf_copy_from_user_str(fsession.buffer(8), 8, 0, 0)
    fsession.bpf_rcu_read_unlock()


class Odd(fsession.Struct):
    kind: "enum no_such_enum"


odd = fsession.Hash("u32", Odd)


@wrong("Odd.kind: 'enum no_such_enum' is no type of a number")
def odd_struct(ctx):
    odd[1] = (2,)
