#!/bin/sh
# Install the Debian packages of the named groups that are missing:
#   packages.sh qemu [tools] [bench]
# Where apt or the privilege is missing, say what to install by hand, and go on: what needs the
# packages says so itself.
set -eu

missing=
need() { # COMMAND-OR-FILE PACKAGE
    case $1 in
    /*) [ -e "$1" ] && return 0 ;;
    *) command -v "$1" >/dev/null 2>&1 && return 0 ;;
    esac
    missing="$missing $2"
}

for group in "$@"; do
    case $group in
    qemu)
        need qemu-system-x86_64 qemu-system-x86
        [ "$#" = 1 ] || need qemu-system-aarch64 qemu-system-arm
        ;;
    tools)
        need clang clang
        need llvm-objdump llvm
        need bpftool bpftool
        need pahole pahole
        need chromium chromium
        need /usr/include/bpf/bpf_helpers.h libbpf-dev
        ;;
    bench)
        need gcc gcc
        need uftrace uftrace
        ;;
    *) echo "packages.sh: no group '$group'" >&2 && exit 2 ;;
    esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "not installed:$missing. As root: apt-get install$missing" >&2
    exit 0
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -qq -y --no-install-recommends $missing >/dev/null
