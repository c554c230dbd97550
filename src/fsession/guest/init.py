"""What runs in the guest as process 1: a dash script, and the files that tell it what to do.

It speaks with the host over virtio serial ports, ``/dev/vport0pN``, so that console noise never
gets into a command's output:

====  =========  ================================================================
port  direction  what
====  =========  ================================================================
1     both       control, lines: guest ``up``; host ``go ROWS COLUMNS``;
                 guest ``exit STATUS``; host ``size ROWS COLUMNS`` at any time
2     out        the command's standard output
3     out        its standard error
4     in         its standard input; closed by the host at the end
5     out        the files to bring out, a tar archive
====  =========  ================================================================

Interactive guests have a terminal instead of ports 2 to 4: ``/dev/hvc0``, a virtio console.
The command gets pipes, not ports: a port can be opened only once, and it cuts long writes.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from fsession.guest.cpio import Entry, file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["init_files"]


def init_files(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    outputs: Sequence[str],
    terminal: bool,
    settle: bool,
    early_modules: Sequence[str],
) -> list[Entry]:
    """Process 1, the mount table, the command, and the settings the first reads of the last."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
    settings = {
        "terminal": "1" if terminal else "",
        "start": "/usr/bin/python3 -I -S /.fsession/settle" if settle else "/bin/dash",
        "outputs": "1" if outputs else "",
        "early_modules": " ".join(early_modules),
    }
    assignments = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    words = shlex.join(command) if command else "/bin/sh -i" if terminal else "/bin/sh"
    paths = shlex.join(path.strip("/") for path in outputs)
    return [
        file("init", _INIT.encode(), executable=True),
        file("etc/fstab", _FSTAB.encode()),
        file(".fsession/settle", _SETTLE.encode()),
        file(".fsession/settings", assignments.encode()),
        file(".fsession/command", _encoded(f"{exports}cd\nexec {words}\n")),
        file(".fsession/outputs", _encoded(_OUTPUTS.format(paths=paths))),
    ]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_FSTAB = """\
proc /proc proc defaults
sysfs /sys sysfs defaults
devtmpfs /dev devtmpfs defaults
devpts /dev/pts devpts mode=620,ptmxmode=666
tmpfs /dev/shm tmpfs mode=1777
cgroup2 /sys/fs/cgroup cgroup2 defaults
bpf /sys/fs/bpf bpf mode=700
tracefs /sys/kernel/tracing tracefs defaults
debugfs /sys/kernel/debug debugfs defaults
"""

_OUTPUTS = """\
cd /
set --
for path in {paths}; do
    [ ! -e "$path" ] || set -- "$@" "$path"
done
[ $# -eq 0 ] || tar -c -f /dev/vport0p5 "$@"
"""

# Begins the command at a whole 10 s of guest time: what the boot left to do does not count as the
# command's, and the timer ticks fall on the same instructions of it in every run. The time a boot
# takes is not the same to the instruction: the guest spins while the host serves its ports.
_SETTLE = """\
import ctypes, os, signal, sys, time
PR_SET_TIMERSLACK, TIMER_ABSTIME = 29, 1
libc = ctypes.CDLL(None)
libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
start = (int(time.monotonic() + 3) // 10 + 1) * 10
libc.clock_nanosleep(time.CLOCK_MONOTONIC, TIMER_ABSTIME, (ctypes.c_long * 2)(start, 0), None)
libc.prctl(PR_SET_TIMERSLACK, 0, 0, 0, 0)
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
os.execv("/bin/dash", ["dash", *sys.argv[1:]])
"""

_INIT = r"""#!/bin/dash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 LC_ALL=C.UTF-8
. /.fsession/settings
exec 2>&1
mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
mkdir -p /dev/pts /dev/shm
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -a 2>/dev/null
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
echo fsession >/proc/sys/kernel/hostname
ifconfig lo 127.0.0.1 up
for module in $early_modules; do modprobe "$module"; done
tries=0
while ! [ -c /dev/vport0p1 ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo 'fsession: no virtio ports'; poweroff -f; }
    usleep 50000
done
exec 9<>/dev/vport0p1
echo up >&9
read -r word rows columns <&9

if [ -n "$terminal" ]; then
    exec 8<>/dev/hvc0 # a terminal that nobody has open forgets its size
    stty rows "$rows" columns "$columns" </dev/hvc0
    while read -r word rows columns <&9; do
        stty rows "$rows" columns "$columns" </dev/hvc0
    done &
    resizer=$!
    (exec setsid -c /bin/dash /.fsession/command </dev/hvc0 >/dev/hvc0 2>&1 9>&-)
    status=$?
    kill $resizer
else
    mkfifo /.fsession/stdin /.fsession/stdout /.fsession/stderr
    cat </.fsession/stdout >/dev/vport0p2 9>&- &
    out=$!
    cat </.fsession/stderr >/dev/vport0p3 9>&- &
    err=$!
    cat </dev/vport0p4 >/.fsession/stdin 9>&- &
    in=$!
    # In a subshell: this shell's own words about the command ("Killed") are not its output.
    (exec setsid $start /.fsession/command \
        </.fsession/stdin >/.fsession/stdout 2>/.fsession/stderr 9>&-)
    status=$?
    # What the command left behind holds its pipes open: it ends with the command.
    usleep 20000
    if kill -0 $out 2>/dev/null || kill -0 $err 2>/dev/null; then
        for process in /proc/[0-9]*; do
            process=${process#/proc/}
            case $process in
            1 | $out | $err) ;;
            *) kill -9 "$process" ;;
            esac
        done 2>/dev/null
    fi
    wait $out $err
fi
if [ -n "$outputs" ]; then
    . /.fsession/outputs
fi
echo "exit $status" >&9
read -r word <&9
poweroff -f
"""
