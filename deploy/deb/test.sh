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
for tool in debootstrap apt-ftparchive gpg; do
    command -v $tool >/dev/null || [ -x /usr/sbin/$tool ] ||
        fail "please run:  apt-get install debootstrap apt-utils gnupg   and try again"
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
    [ -z "${GNUPGHOME:-}" ] || rm -rf "$GNUPGHOME"
    [ -z "${server:-}" ] || kill "$server" || true
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
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-generate-key familiar ed25519 sign never 2>build/deb/gpg.log
(
    cd $root/repository
    apt-ftparchive packages . >Packages
    apt-ftparchive release . >Release
    gpg --batch --quiet --clearsign --output InRelease Release
)
gpg --export >$root/usr/share/keyrings/familiar.gpg
echo "deb [signed-by=/usr/share/keyrings/familiar.gpg] file:/repository ./" \
    >$root/etc/apt/sources.list.d/familiar.list
cat >$root/root/config.toml <<'END'
device = "glasses-7"

[mqtt]
broker = "mqtts://192.0.2.7"
ca_file = "/etc/familiar/broker/ca.crt"
certificate_file = "/etc/familiar/broker/client.crt"
key_file = "/run/credentials/familiar.service/client.key"
END
echo "127.0.0.1 localhost" >$root/etc/hosts
mkdir $root/root/certificates
for file in ca.crt client.crt client.key; do echo "$file" >$root/root/certificates/$file; done

inside() { chroot $root env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
device() { inside CREDENTIALS_DIRECTORY=/run/keys runuser -u familiar -- familiar --home /var/lib/familiar "$@"; }
# A fleet has no demo: people who are replayed are in a home of their own.
demo() { inside runuser -u familiar -- familiar --home /var/lib/familiar/demo "$@"; }
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

provision() { # LOG OPTION...
    log=build/deb/provision-$1.log
    shift
    inside familiar-provision "$@" --config /root/config.toml --seal --certificates /root/certificates \
        --url http://127.0.0.1:18080 --root /root/op/root.json --allow 192.0.2.7 --allow localhost \
        >"$log" 2>&1 || fail "provisioning failed: see $log"
}
everything() { # what a run that changes nothing leaves as it is
    (cd $root && find etc root var/lib -type f -exec sha256sum {} + | sort)
}
operator() { inside familiar operator "$@" --dir /root/op >>build/deb/operator.log; }

step "provisioning it: a dry run, before the operator knows it, after, and once more"
inside systemd-machine-id-setup 2>/dev/null
operator init --fleet harbour --purpose assist
before=$(everything)
provision dry --dry-run
[ "$(everything)" = "$before" ] || fail "the dry run changed something"
! grep '^done: ' build/deb/provision-dry.log || fail "the dry run did something"
chroot $root python3 -m http.server --bind 127.0.0.1 --directory /root/op/repository 18080 \
    >build/deb/http.log 2>&1 &
server=$!
operator publish
provision 1
grep -q 'Hand /var/lib/familiar/device.json' build/deb/provision-1.log || fail "it joined uninvited"
operator add-device --key /var/lib/familiar/device.json
operator publish
provision 2
[ "$(grep '^done: ' build/deb/provision-2.log)" = "done:      joined the fleet" ] ||
    fail "the second run did not join the fleet, or did more"
before=$(everything)
provision 3
! grep '^done: ' build/deb/provision-3.log || fail "provisioning again was not as it was"
[ "$(everything)" = "$before" ] || fail "provisioning again changed something"
for key in store.key device.key; do
    [ ! -e $root/var/lib/familiar/keys/$key ] || fail "$key lies open"
    [ -s $root/etc/familiar/$key.cred ] || fail "$key is not sealed"
done
[ ! -e $root/root/certificates/client.key ] || fail "the broker's key lies open"
for line in IPAddressAllow=192.0.2.7 IPAddressAllow=127.0.0.1 LoadCredentialEncrypted=client.key:; do
    grep -q "^$line" $root/etc/systemd/system/familiar.service.d/provision.conf || fail "no $line"
done
[ -z "$(inside systemd-analyze verify --man=no /lib/systemd/system/familiar.service 2>&1)" ] ||
    fail "systemd does not understand the provisioned unit"
mkdir -p $root/run/keys # what systemd does for the service
for key in store.key device.key; do
    inside systemd-creds decrypt --name=$key /etc/familiar/$key.cred /run/keys/$key
done
inside chown -R familiar: /run/keys

step "enrolling and recognising somebody"
demo enrol --demo --name Barack --purpose assist \
    --source /media/enrolled-1.jpg --source /media/enrolled-2.jpg >/dev/null
demo run --demo --source /media --output json >build/deb/events.jsonl 2>/dev/null
[ "$(grep -c '"specversion"' build/deb/events.jsonl)" = 1 ] || fail "nobody was recognised"
before=$(state)

step "updating to $next, and rolling back"
apt install -y "familiar=$next"
is_version $next
[ "$(state)" = "$before" ] || fail "the update changed the state"
demo people list | grep Barack >/dev/null || fail "the update lost somebody"
apt install -y --allow-downgrades "familiar=$version"
is_version "$version"
[ "$(state)" = "$before" ] || fail "the roll-back changed the state"
demo people list | grep Barack >/dev/null || fail "the roll-back lost somebody"
device sync >/dev/null || fail "the roll-back does not sync"
cp -a $root/var/lib/familiar/demo $root/root/newer
printf '\377' | dd of=$root/root/newer/store/gallery.sealed bs=1 seek=7 conv=notrunc status=none
newer=$(inside familiar --home /root/newer people list 2>&1) && fail "a newer format was read"
case $newer in
*"format 255"*"install that version again"*) ;;
*) fail "a newer format is not refused clearly: $newer" ;;
esac
grep -q glasses-7 $root/etc/familiar/config.toml || fail "the configuration was replaced"

step "removing and purging it"
before=$(state)
apt remove -y familiar
[ ! -e $root/usr/lib/familiar ] || fail "removal left the program"
[ "$(state)" = "$before" ] || fail "removal took the state"
apt purge -y familiar
for place in var/lib/familiar etc/familiar; do
    [ ! -e "$root/$place" ] || fail "purging left /$place"
done
step "passed: installed, provisioned, recognised, updated, rolled back, removed, purged"
