#!/bin/sh
# Installs, provisions, runs, updates, rolls back, removes and purges the package in a clean Debian 12:
# deploy/deb/test.sh PYTHON ; as root, with debootstrap and a Debian mirror.
set -eu
cd "$(dirname "$0")/../.."
python=$1
base=build/deb/base root=build/deb/root
next=99.0.0

fail() {
    printf 'deb: %s\n' "$*" >&2
    exit 1
}
step() { printf 'deb: %s\n' "$*"; }

[ "$(id -u)" = 0 ] || fail "run it as root: it needs a root of its own (chroot)"
for tool in debootstrap apt-ftparchive; do
    command -v $tool >/dev/null || [ -x /usr/sbin/$tool ] ||
        fail "please run:  apt-get install debootstrap apt-utils   and try again"
done

if [ ! -e $base/.done ]; then
    step "unpacking a clean Debian 12 (once, about a minute)"
    rm -rf $base
    PATH=$PATH:/usr/sbin:/sbin debootstrap --variant=minbase --include=python3,systemd bookworm $base \
        >build/deb/debootstrap.log 2>&1 || fail "debootstrap failed: see build/deb/debootstrap.log"
    touch $base/.done
fi

step "building two versions"
first=$(deploy/deb/build.sh "$python" | tail -1)
second=$(VERSION=$next deploy/deb/build.sh "$python" | tail -1)
version=$(dpkg-deb -f "$first" Version)

cleanup() {
    for place in proc dev/shm; do
        mountpoint -q "$root/$place" && umount "$root/$place"
    done
    true
}
trap cleanup EXIT
cleanup
rm -rf $root
cp -a $base $root
mount -t proc proc $root/proc
mkdir -p $root/dev/shm $root/repository $root/media
mount -t tmpfs tmpfs $root/dev/shm
for device in "null 3" "zero 5" "random 8" "urandom 9"; do
    [ -e "$root/dev/${device% *}" ] || mknod -m 666 "$root/dev/${device% *}" c 1 "${device#* }"
done
cp "$first" "$second" $root/repository/
cp build/media/enrolled-*.jpg build/media/stranger-1.jpg $root/media/
(cd $root/repository && apt-ftparchive packages . >Packages)
echo "deb [trusted=yes] file:/repository ./" >$root/etc/apt/sources.list.d/familiar.list
printf 'device = "glasses-7"\n' >$root/root/config.toml

inside() { chroot $root env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
device() { inside runuser -u familiar -- familiar --home /var/lib/familiar "$@"; }
state() { (cd $root/var/lib/familiar && find . -type f -exec sha256sum {} + | sort); }
apt() { inside apt-get -qq "$@" >>build/deb/apt.log 2>&1 || fail "apt-get $* failed: see build/deb/apt.log"; }
is_version() { [ "$(inside familiar --version)" = "familiar $1" ] || fail "this is not version $1"; }
: >build/deb/apt.log

step "installing $version from a repository"
apt update
apt install -y "familiar=$version"
is_version "$version"
[ "$(inside stat -c '%a %U' /var/lib/familiar)" = "700 familiar" ] || fail "the state is not private"
inside familiar config check /etc/familiar/config.toml 2>/dev/null || fail "its configuration is not well"

step "provisioning it, twice"
inside familiar-provision --config /root/config.toml --allow 192.0.2.7 >build/deb/provision-1.log
inside familiar-provision --config /root/config.toml --allow 192.0.2.7 >build/deb/provision-2.log
grep -q '^done: ' build/deb/provision-1.log || fail "provisioning did nothing"
! grep '^done: ' build/deb/provision-2.log || fail "provisioning again was not as it was"
grep -q 'IPAddressAllow=192.0.2.7' $root/etc/systemd/system/familiar.service.d/provision.conf
inside familiar-provision --dry-run --config /root/config.toml --allow 192.0.2.7 >build/deb/provision-dry.log

step "enrolling and recognising somebody"
device enrol --demo --name Barack --purpose assist \
    --source /media/enrolled-1.jpg --source /media/enrolled-2.jpg >/dev/null
device run --demo --source /media --output json >build/deb/events.jsonl 2>/dev/null
[ "$(grep -c '"specversion"' build/deb/events.jsonl)" = 1 ] || fail "nobody was recognised"
before=$(state)

step "updating to $next, and rolling back"
apt install -y "familiar=$next"
is_version $next
[ "$(state)" = "$before" ] || fail "the update changed the state"
device people list | grep Barack >/dev/null || fail "the update lost somebody"
apt install -y --allow-downgrades "familiar=$version"
is_version "$version"
[ "$(state)" = "$before" ] || fail "the roll-back changed the state"
device people list | grep Barack >/dev/null || fail "the roll-back lost somebody"
grep -q glasses-7 $root/etc/familiar/config.toml || fail "the configuration was replaced"

step "removing and purging it"
apt remove -y familiar
[ ! -e $root/usr/lib/familiar ] || fail "removal left the program"
[ "$(state)" = "$before" ] || fail "removal took the state"
apt purge -y familiar
for place in var/lib/familiar etc/familiar; do
    [ ! -e "$root/$place" ] || fail "purging left /$place"
done
step "passed: installed, provisioned, recognised, updated, rolled back, removed, purged"
