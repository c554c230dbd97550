"""Programs in Python for the functions of a pattern, by each strategy."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from fsession.session.python import PythonObject

HERE = Path(__file__).parent
AT_FDCWD = -100


def test_pattern(strategy, host, tid):
    with PythonObject.open(HERE / "patterns.py") as obj:
        obj.load(host)
        with obj.attach(strategy) as attachment:
            obj.object.globals["only"] = tid
            os.close(os.open("/dev/null", os.O_RDONLY))
            with contextlib.suppress(FileNotFoundError):
                os.open("/no/such/file", os.O_RDONLY)
            obj.object.globals["only"] = 0
        assert "do_sys_openat2" in attachment.targets
        calls = [(event.name, event.ret) for event in obj.read(0)]
        assert calls[0][0] == "/dev/null"
        assert calls[0][1] >= 0
        assert calls[1] == ("/no/such/file", -errno.ENOENT)
        assert dict(obj.object.maps["calls"].items()) == {AT_FDCWD: 2}
