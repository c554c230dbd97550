"""Arguments that are structs by value."""

import fsession

only = fsession.Global("u32", 0xFFFFFFFF)


@fsession.program("from_kuid_munged")
def owner(ctx, kuid):
    if kuid.val == only.value:
        fsession.emit(owner=kuid.val, at_return=fsession.session_is_return(ctx))


@fsession.program("ip_setsockopt")
def option(optval, optname):
    if optname == 2:
        fsession.emit(user=optval.user, is_kernel=optval.is_kernel, whole=optval)
