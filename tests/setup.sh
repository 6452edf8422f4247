#!/bin/sh
# Finds out what a build or a test run needs and this machine lacks. As root on Debian or Ubuntu it installs that; otherwise it says in one line what to
# install, and fails. Under TWILL_COMPLETE nothing that tests use is left out: what cannot be had fails. Usage: tests/setup.sh build|lab|languages|bench|web|grafana|deny
set -eu

cd "$(dirname "$0")/.."

say() { printf '==> %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# left_out WORDS: says what is left out, and fails where nothing may be.
left_out() {
    say "$*"
    [ -z "${TWILL_COMPLETE:-}" ] || exit 1
}

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

# Tools for plugins in Python and JavaScript, below target/tools; what cannot be had here is left out, with a word, and so are the plugins that need it.
languages() {
    tools=target/tools
    if [ ! -x $tools/python/bin/componentize-py ]; then
        have python3 && python3 -c 'import ensurepip' 2>/dev/null || install python3-venv
        say 'installing componentize-py into target/tools (once)'
        rm -rf $tools/python
        python3 -m venv $tools/python && $tools/python/bin/pip install --quiet --disable-pip-version-check \
            -r host/daemon/templates/python-backend/requirements.txt || {
            rm -rf $tools/python
            left_out 'skipped: plugins in Python (componentize-py cannot be installed here)'
        }
    fi
    if [ ! -x $tools/js/node_modules/.bin/componentize-qjs ]; then
        if ! have npm; then
            left_out 'skipped: plugins in JavaScript (npm is missing)'
            return
        fi
        say 'installing componentize-qjs into target/tools (once)'
        mkdir -p $tools/js
        cp host/daemon/templates/js-backend/package-lock.json $tools/js/
        sed 's/@name@/tools/' host/daemon/templates/js-backend/package.json >$tools/js/package.json
        sed -i 's/@name@/tools/' $tools/js/package-lock.json
        npm --prefix $tools/js ci --silent --no-audit --no-fund || {
            rm -rf $tools/js
            left_out 'skipped: plugins in JavaScript (componentize-qjs cannot be installed here)'
        }
    fi
}

# A tester of HTTP APIs by their OpenAPI document, in an environment of its own. Where it cannot be had the test that needs it is skipped.
schemathesis() {
    tool=target/tools/schemathesis
    [ -x $tool/bin/schemathesis ] && return
    have python3 || { left_out 'python3 is missing: schemathesis is left out'; return; }
    mkdir -p target/tools
    { python3 -m venv $tool && $tool/bin/pip install --quiet schemathesis==4.32.5; } >target/tools/schemathesis.log 2>&1 || {
        rm -rf $tool
        left_out 'schemathesis cannot be installed (target/tools/schemathesis.log): its test is left out'
    }
}

# Grafana's own libraries, and the page that draws the Grafana dashboard with them. Where they cannot be had the test that needs it is skipped.
grafana() {
    have npm || { left_out 'npm is missing: the Grafana dashboard is not drawn'; return; }
    if [ ! tests/grafana/node_modules/.package-lock.json -nt tests/grafana/package-lock.json ]; then
        say "installing Grafana's libraries into tests/grafana/node_modules (once)"
        npm --prefix tests/grafana ci --silent --ignore-scripts --no-audit --no-fund || {
            rm -rf tests/grafana/node_modules
            left_out "Grafana's libraries cannot be installed here: the Grafana dashboard is not drawn"
            return 0
        }
        touch tests/grafana/node_modules/.package-lock.json
    fi
    say "holding the Grafana dashboard against Grafana's schema"
    npm --prefix tests/grafana run --silent build
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
    lab)
        need ip=iproute2 nft=nftables ping=iputils-ping unshare=util-linux ps=procps etcd=etcd-server etcdctl=etcd-client chromium=chromium promtool=prometheus
        need redis-server=redis-server webdis=webdis gzip=gzip iptables=iptables ethtool=ethtool tshark=tshark minisign=minisign
        # A library: nodes whose clocks are wrong.
        ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || install libfaketime
        # Containers of the lab hold nothing but this program.
        ldd "$(command -v busybox)" 2>&1 | grep -q 'not a dynamic' || install busybox-static
        [ -x /usr/lib/cni/bridge ] || install containernetworking-plugins
        # Debian starts these at once where there is systemd, and they change the machine's rules: there it is for you to want them.
        [ -d /run/systemd/system ] || need dockerd=docker.io firewalld=firewalld
        schemathesis
        ;;
    # What twill is measured against; a bench leaves out, by name, what is missing.
    bench) need ethtool=ethtool iperf3=iperf3 wireguard-go=wireguard-go wg=wireguard-tools nebula=nebula || say 'the bench leaves out what is missing' ;;
    languages) languages ;;
    web) have npm || left_out 'npm is missing: the dashboard is not built, the daemon serves a page of one line instead' ;;
    grafana) grafana ;;
    deny) deny ;;
    *) echo "usage: $0 build|lab|languages|bench|web|grafana|deny" >&2; exit 64 ;;
esac
