"""Names that are asked for over DNS: the question of each UDP packet to port 53."""

import fsession

UDP_HEADER, DNS_HEADER = 8, 12


@fsession.program("fentry/udp_send_skb")
def query(ctx, skb, fl4):
    if fsession.ntohs(fl4.uli.ports.dport) != 53:
        return
    at = fsession.cast("u64", skb.head) + skb.transport_header + UDP_HEADER + DNS_HEADER
    fsession.emit(comm=fsession.get_current_comm(), name=fsession.cast("char *", at))
