"""What a guest's root has besides packages: folders, links, accounts, busybox's commands."""

from __future__ import annotations

from fsession.guest.cpio import Entry, directory, file, symlink

__all__ = ["skeleton"]


def skeleton() -> list[Entry]:
    """All of it. ``/bin``, ``/lib`` and ``/sbin`` are links to their namesakes in ``/usr``."""
    return [
        *(symlink(f"usr/bin/{name}", "busybox") for name in _APPLETS),
        *(directory(path) for path in _FOLDERS),
        *(directory(path, 0o1777) for path in ("tmp", "var/tmp")),
        *(symlink(path, target) for path, target in _LINKS.items()),
        *(file(path, data) for path, data in _ACCOUNTS.items()),
    ]


_FOLDERS = (
    "dev",
    "proc",
    "root",
    "sys",
    "run",
    "usr/bin",
    "usr/sbin",
    "usr/lib64",
)
_LINKS = {
    "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
    "usr/bin/python3": "python3.11", "usr/bin/python": "python3.11", "usr/bin/sh": "dash",
    "etc/mtab": "/proc/mounts",
}  # fmt: skip
_ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n"
    b"nobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n"
    b"user:x:1000:1000:user:/tmp:/bin/sh\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\nuser:x:1000:\n",
    "etc/hosts": b"127.0.0.1 localhost fsession\n::1 localhost\n",
    "etc/hostname": b"fsession\n",
}
_APPLETS = (
    "awk", "base64", "basename", "cat", "chgrp", "chmod", "chown", "chroot", "clear", "cmp", "cp",
    "cut", "date", "dd", "df", "diff", "dirname", "dmesg", "du", "egrep", "env", "expr", "false",
    "fgrep", "find", "free", "grep", "gunzip", "gzip", "head", "hexdump", "hostname", "id",
    "ifconfig", "insmod", "kill", "killall", "less", "ln", "ls", "lsmod", "md5sum", "mkdir",
    "mkfifo", "mknod", "mktemp", "modinfo", "modprobe", "more", "mount", "mv", "nc", "netstat",
    "nice", "nl", "nohup", "nproc", "nslookup", "nsenter", "od", "paste", "patch", "pidof",
    "poweroff", "printenv", "printf", "ps", "pwd", "readlink", "realpath", "reboot", "renice",
    "reset", "rm", "rmdir", "rmmod", "route", "sed", "seq", "setpriv", "setsid", "sha256sum",
    "shuf", "sleep", "sort", "stat", "strings", "stty", "su", "sync", "sysctl", "tac", "tail",
    "tar", "taskset", "tee", "telnet", "test", "time", "timeout", "top", "touch", "tr", "true",
    "truncate", "tty", "umount", "uname", "uniq", "unshare", "unxz", "unzip", "uptime", "usleep",
    "vi", "watch", "wc", "wget", "which", "whoami", "xargs", "xxd", "xz", "xzcat", "yes", "zcat",
    "[",
)  # fmt: skip
