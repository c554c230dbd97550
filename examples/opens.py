"""Files that could not be opened: the name as it was asked for, and the error."""

import fsession


class Name(fsession.Struct):
    text: "char[64]"


asked = fsession.Hash("u32", Name, max_entries=4096)


@fsession.program("do_sys_openat2")
def open_(ctx, filename):
    thread = fsession.get_current_pid_tgid() & 0xFFFFFFFF
    if not fsession.session_is_return(ctx):
        asked[thread] = (filename,)
        return
    name = asked.get(thread)
    if name is not None and fsession.ret(ctx) < 0:
        fsession.emit(comm=fsession.get_current_comm(), name=name.text, error=fsession.ret(ctx))
    del asked[thread]
