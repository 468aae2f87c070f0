#!/bin/sh
# Prepares .venv for one make target: deploy/setup.sh (demo|dev); with `audit`,
# `docs`, `home-assistant`, `node-red` or `oidc-provider`, an environment of that name in build/.
# Python packages are pinned and hashed. Debian packages are installed when this runs as root,
# and asked for otherwise.
set -eu
cd "$(dirname "$0")/.."
kind=$1
python=${PYTHON:-python3}

fail() {
    printf '\nfamiliar: %s\n' "$*" >&2
    exit 1
}

# need PACKAGE... : Debian packages that a check below found missing
need() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "familiar: installing Debian packages: $*"
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y "$@"; } \
            >build/apt.log 2>&1 && return
        fail "apt-get could not install $*; see build/apt.log, install them yourself, run make again"
    fi
    fail "please run:  sudo apt-get install $*   and then make again"
}

mkdir -p build
command -v "$python" >/dev/null || [ "$python" = python3 ] || fail "there is no $python; name another with  make PYTHON=python3.11"
command -v "$python" >/dev/null || need python3
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
    fail "needs Python 3.11 to 3.13, found $("$python" -V 2>&1); name one with  make PYTHON=python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null || need python3-venv

# apart NAME PYTHON : the tools of deploy/requirements/NAME.txt, in an environment of their own
apart() {
    wanted=deploy/requirements/$1.txt
    [ "build/$1/.installed" -nt "$wanted" ] && exit 0
    rm -rf "build/$1"
    echo "familiar: installing Python packages into build/$1 (pinned and hashed)"
    "$2" -m venv "build/$1"
    "build/$1/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r "$wanted" ||
        fail "the tools could not be installed: see pip's lines above, then make again"
    touch "build/$1/.installed"
    exit 0
}

case $kind in audit | docs) apart "$kind" "$python" ;; esac
# npm_apart NAME FOLDER: what its lock names, in build/NAME
npm_apart() {
    command -v npm >/dev/null || need nodejs npm
    [ "build/$1/.installed" -nt "$2/package-lock.json" ] && exit 0
    mkdir -p "build/$1"
    cp "$2/package.json" "$2/package-lock.json" "build/$1/"
    echo "familiar: installing $1 into build/$1 (pinned and hashed)"
    (cd "build/$1" && npm ci --silent --no-audit --no-fund --ignore-scripts) ||
        fail "$1 could not be installed: see npm's lines above, then make again"
    touch "build/$1/.installed"
    exit 0
}

[ "$kind" != node-red ] || npm_apart node-red deploy/node-red
[ "$kind" != oidc-provider ] || npm_apart oidc-provider tests/integrations/oidc_provider
if [ "$kind" = home-assistant ]; then
    theirs=${PYTHON313:-python3.13}
    "$theirs" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null ||
        fail "Home Assistant needs Python 3.13; name one with  make PYTHON313=/path/to/python3.13"
    apart home-assistant "$theirs"
fi

if [ "$kind" = dev ]; then
    missing=
    { command -v g++ && "$python" -c '
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))'; } \
        >/dev/null || missing="g++ python3-dev"
    { command -v mosquitto || [ -x /usr/sbin/mosquitto ]; } >/dev/null || missing="$missing mosquitto"
    command -v espeak-ng >/dev/null || missing="$missing espeak-ng"
    command -v aplay >/dev/null || missing="$missing alsa-utils"
    { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 ||
        missing="$missing postgresql"
    command -v dbus-daemon >/dev/null || missing="$missing dbus-daemon"
    command -v systemd-analyze >/dev/null || missing="$missing systemd"
    # shellcheck disable=SC2086  # a list of packages, meant to be split
    [ -z "$missing" ] || need $missing
fi

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# sound: .venv is of the wanted Python, and no set-up of it was cut off half-way
unfinished=.venv/.unfinished
sound() { [ ! -e $unfinished ] && [ "$(version .venv/bin/python)" = "$(version "$python")" ]; }

stamp=.venv/.installed-$kind
sound && [ -e "$stamp" ] && [ "$stamp" -nt deploy/requirements/demo.txt ] &&
    [ "$stamp" -nt "deploy/requirements/$kind.txt" ] && [ "$stamp" -nt pyproject.toml ] && exit 0
sound && .venv/bin/python -m pip --version >/dev/null 2>&1 || rm -rf .venv
mkdir -p .venv
touch $unfinished
[ -x .venv/bin/python ] || "$python" -m venv .venv ||
    fail "the virtual environment could not be made; run  make clean  and then make again"
install() {
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-build-isolation "$@" ||
        fail "the Python packages could not be installed: see pip's lines above, then make again;" \
            "if that does not help, run  make clean  first"
}
echo "familiar: installing Python packages into .venv (pinned and hashed)"
# The demo's file holds the build tools that a source package of the second one needs.
install --require-hashes -r deploy/requirements/demo.txt
[ "$kind" = demo ] || install --require-hashes -r "deploy/requirements/$kind.txt"
install --no-deps -e .
touch .venv/.installed-demo "$stamp"
rm $unfinished
