"""Pages that were looked for in the page cache, and those that had to be added to it."""

import fsession

ACCESSES, MISSES = 0, 1
counts = fsession.PerCpuArray("u64", 2)


@fsession.program("fentry/folio_mark_accessed")
def accessed(ctx):
    counts[ACCESSES] += 1


@fsession.program("fexit/filemap_add_folio")
def added(ctx):
    if fsession.ret(ctx) == 0:
        counts[MISSES] += 1
