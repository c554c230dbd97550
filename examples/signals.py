"""Who sends which signal to whom."""

import fsession


@fsession.program("fentry/do_send_sig_info")
def send(ctx, sig, p):
    fsession.emit(
        sender=fsession.get_current_comm(),
        receiver=p.comm,
        pid=p.tgid,
        signal=sig,
    )
