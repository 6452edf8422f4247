#!/bin/sh
# Finds out what a build or a test run needs and this machine lacks. As root on Debian or Ubuntu it installs that; otherwise it says in one line what to
# install, and fails. Usage: tests/setup.sh build|lab|bench|web|deny
set -eu

cd "$(dirname "$0")/.."

say() { printf '==> %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# install PACKAGE…: by apt, when this user may; else names the packages and fails.
install() {
    if [ "$(id -u)" = 0 ] && have apt-get; then
        say "installing $*"
        apt-get install -y --no-install-recommends "$@" >/dev/null 2>&1 || {
            apt-get update >/dev/null
            DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null
        }
    else
        printf 'missing here: install %s (Debian package names), then run this again\n' "$*" >&2
        exit 1
    fi
}

# need PROGRAM=PACKAGE…: installs the packages whose program is missing.
need() {
    missing=
    for pair in "$@"; do
        have "${pair%%=*}" || missing="$missing ${pair#*=}"
    done
    # shellcheck disable=SC2086
    [ -z "$missing" ] || install $missing
}

rust() {
    have cargo || { echo 'missing here: install Rust with rustup, then run this again' >&2; exit 1; }
    need cc=gcc
}

# Plugins are built for WebAssembly: by the target's standard library, or from its sources where rustup cannot fetch that.
wasm() {
    target=wasm32-unknown-unknown
    rustlib=$(rustc --print sysroot)/lib/rustlib
    [ -d "$rustlib/$target/lib" ] && return
    [ -d /usr/lib/rustlib/src/rust/library/std ] && return
    if have rustup && timeout 300 rustup target add "$target" >/dev/null 2>&1; then
        say "added the target $target to Rust"
    else
        # A linker for WebAssembly comes with rustup's Rust, not with Debian's.
        set -- "$rustlib"/*/bin/rust-lld
        if [ -x "$1" ]; then lld=; else lld=lld; fi
        # shellcheck disable=SC2086
        install rustc-web cargo-web rust-web-src $lld
    fi
}

# A checker of licences, sources and known holes, built once into target/tools.
deny() {
    [ -x target/tools/bin/cargo-deny ] || have cargo-deny && return
    say 'building cargo-deny into target/tools (once, some minutes)'
    CARGO_TARGET_DIR=target/tools/build cargo install --quiet --locked --root target/tools cargo-deny@0.20.2
    rm -rf target/tools/build
}

case "${1:-build}" in
    build) rust; wasm ;;
    lab) need ip=iproute2 nft=nftables ping=iputils-ping unshare=util-linux ps=procps etcd=etcd-server etcdctl=etcd-client chromium=chromium ;;
    # What twill is measured against; a bench leaves out, by name, what is missing.
    bench) need ethtool=ethtool wireguard-go=wireguard-go wg=wireguard-tools nebula=nebula || say 'the bench leaves out what is missing' ;;
    web) have npm || say 'npm is missing: the dashboard is not built, the daemon serves a page of one line instead' ;;
    deny) deny ;;
    *) echo "usage: $0 build|lab|bench|web|deny" >&2; exit 64 ;;
esac
