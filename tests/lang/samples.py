"""Functions of five integers, for both: compiled to BPF and run by CPython."""

# ruff: noqa: B007


def sums(a, b, c, d, e):
    return a + b - c * d


def floor(a, b, c, d, e):
    return a // 7 + b // -3 + (a // ((b & 15) + 1))


def modulo(a, b, c, d, e):
    return a % 7 + b % -3 + a % ((b & 15) + 1) + c % 8


def shifts(a, b, c, d, e):
    return (a >> 3) + (b >> (c & 63)) + ((d & 255) << 4)


def chain(a, b, c, d, e):
    return (a < b < c) + 2 * (a == b != c) + 4 * (a >= b)


def and_or(a, b, c, d, e):
    return (a and b) + (c or d) + (not e)


def ternary(a, b, c, d, e):
    return a if b > c else (d if e else -1)


def if_elif(a, b, c, d, e):
    if a > b:
        x = 1
    elif a == b:
        x = 2
    else:
        x = c
    return x


def early(a, b, c, d, e):
    if (a > 0 and b > 0) or c:
        return 5
    return d


def for_range(a, b, c, d, e):
    n = 0
    for i in range(10):
        n += i * a
    return n


def range_down(a, b, c, d, e):
    n = 0
    for i in range(20, 1, -3):
        n = n * 3 + i
    return n + (a & 1)


def break_continue(a, b, c, d, e):
    n = 0
    for i in range(50):
        if i == (a & 15):
            break
        if i & 1:
            continue
        n += i
    return n


def while_loop(a, b, c, d, e):
    n = 0
    while n < 20:
        n += 3
    return n + a


def nested(a, b, c, d, e):
    n = 0
    for i in range(5):
        for j in range(i):
            n += j * (a & 7)
            if n > 40:
                break
    return n


def after_a_loop(a, b, c, d, e):
    i = 99
    for i in range(3):
        pass
    return i + a


def swap(a, b, c, d, e):
    a, b = b, a
    x = y = c
    return a - b + x - y


def rotate(a, b, c, d, e):
    for i in range(4):
        a, b, c = b, c, a
    return a - 2 * b + 3 * c


def augmented(a, b, c, d, e):
    a += b
    a -= 3
    a ^= c
    a |= 1
    a &= 65535
    a <<= 2
    a >>= 1
    a //= 5
    a %= 97
    return a


def min_max_abs(a, b, c, d, e):
    return min(a, b, c) + max(d, 3) + abs(e)


def bool_int(a, b, c, d, e):
    return bool(a) + 2 * int(b > c) - (not d)


def none(a, b, c, d, e):
    if a:
        return


def walrus(a, b, c, d, e):
    if (x := a + b) > c:
        return x
    return x - c


def invert(a, b, c, d, e):
    return ~a + -b + +c


def in_tuple(a, b, c, d, e):
    return (a & 7) in (1, 3, 5)


def many_values(a, b, c, d, e):
    p = a * 3
    q = b * 5
    r = c * 7
    s = d ^ 9
    t = e + 11
    u = p ^ q
    v = r ^ s
    w = t ^ u
    x = p + r
    y = q + s
    z = u + w
    return (p ^ q ^ r ^ s ^ t ^ u ^ v ^ w ^ x ^ y ^ z) + (x > y) + (z < w)


def chain_in_condition(a, b, c, d, e):
    if a < b < c:
        return 1
    if not a >= b >= c != d:
        return 2
    return 3 if 0 < d < e < 100 else 4


def far_range(a, b, c, d, e):
    n = 0
    for i in range(a & 8191):
        n += i * b
    return n


def far_down(a, b, c, d, e):
    n = c
    for i in range(b & 65535, 7, -5):
        n = n * 3 + i
    return n


def far_large(a, b, c, d, e):
    n = a
    for i in range(100000):
        n = (n * 5 + i) % 65521
    return n


def far_while(a, b, c, d, e):
    n = a & 65535
    rounds = 0
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        rounds += 1
    return rounds


def far_exits(a, b, c, d, e):
    found = -1
    i = c & 255
    while True:
        i += 1
        if i % 7 == 0:
            continue
        if i * i > (b & 65535):
            found = i
            break
        if i == 100:
            return d
    return found * 2 + i


def far_nested(a, b, c, d, e):
    n = k = 0
    for i in range(a & 2047):
        k = i
        while k != 0:
            k = (k - 1) & i
            n += b & 3
        if n > 30000:
            break
    return n + k


def far_in_near(a, b, c, d, e):
    n = 0
    for i in range(3):
        for j in range((a & 511) * i):
            n += j ^ i
        for k in range(b & 3):
            n -= k
    return n


def far_many(a, b, c, d, e):
    p = q = r = s = t = 1
    n = (a & 1023) + 1
    while n > 0:
        p, q, r, s, t = q + a & 65535, r ^ b, s + c & 65535, t + d & 65535, p + e & 65535
        n -= 1
    return p + 3 * q + 5 * r + 7 * s + 11 * t
