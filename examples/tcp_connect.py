"""How long each TCP connect took, and to where: fsession run tcp_connect.py -- curl …"""

import fsession


@fsession.program("tcp_v4_connect")
def connect(ctx, sk, uaddr):
    cookie = fsession.session_cookie(ctx)
    if not fsession.session_is_return(ctx):
        cookie[0] = fsession.ktime_get_ns()
        return
    to = fsession.cast("struct sockaddr_in *", uaddr)
    fsession.emit(
        address=fsession.ntohl(to.sin_addr.s_addr),
        port=fsession.ntohs(to.sin_port),
        state=sk.__sk_common.skc_state,
        took_ns=fsession.ktime_get_ns() - cookie[0],
        ret=fsession.ret(ctx),
    )
