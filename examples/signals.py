"""Who sends which signal to whom."""

import fsession


@fsession.program("fentry/send_signal_locked")
def send(ctx, sig, t):
    fsession.emit(
        sender=fsession.get_current_comm(),
        receiver=t.comm,
        pid=t.tgid,
        signal=sig,
    )
