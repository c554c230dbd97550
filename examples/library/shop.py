"""Calls what shop.c exports, as any program would; the library is the first argument.

gcc -g -O2 -shared -fPIC -fpatchable-function-entry=5 -o libshop.so shop.c
fsession trace --on engine --lib ./libshop.so '*' -- shop.py ./libshop.so
"""

import ctypes
import sys


class Order(ctypes.Structure):
    _fields_ = (("id", ctypes.c_uint), ("price", ctypes.c_long))


library = ctypes.CDLL(sys.argv[1])
orders = (Order * 2)(Order(1, 1000), Order(2, 250))
library.total(orders, 2, b"XMAS")
library.total(orders, 1, None)
