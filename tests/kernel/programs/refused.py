"""A program that the verifier refuses, in its last line."""

import fsession


@fsession.program("set_user_nice")
def refused(ctx, p, nice):
    cookie = fsession.session_cookie(ctx)
    if p.pid == 1:
        return
    cookie[p.prio] = nice
