#!/bin/sh
# From a fresh Raspberry Pi OS (64-bit) or Debian 12 to a running device; as root.
#   familiar-provision --config FILE [options]
#     --config FILE        the device's configuration, checked before it is put in place
#     --deb FILE           install or update the package first
#     --certificates DIR   what `familiar broker add` wrote for this device: ca.crt, *.crt, *.key
#     --url URL --root FILE  the fleet's gallery, and the root metadata that the operator handed out
#     --allow ADDRESS      the service may reach this address; for broker, gallery and network camera;
#                          may be given several times
#     --seal               seal the store's key to this machine (systemd-creds); only the service
#                          opens it then
#     --dry-run            say what would be done, and change nothing
# It may be run again at any time: what is as it should be stays as it is. Each line says which.
set -eu

home=/var/lib/familiar
etc=/etc/familiar
units=/etc/systemd/system
dry='' config='' deb='' certificates='' url='' root='' allow='' seal=''

fail() {
    printf 'familiar-provision: %s\n' "$*" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=yes ;;
    --seal) seal=yes ;;
    --config | --deb | --certificates | --url | --root | --allow)
        [ $# -ge 2 ] || fail "$1 needs a value"
        case $1 in
        --config) config=$2 ;;
        --deb) deb=$2 ;;
        --certificates) certificates=$2 ;;
        --url) url=$2 ;;
        --root) root=$2 ;;
        --allow) allow="$allow $2" ;;
        esac
        shift
        ;;
    -h | --help)
        sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) fail "unknown option $1; see --help" ;;
    esac
    shift
done
[ -n "$config" ] || fail "name the device's configuration with --config FILE"
for file in "$config" "$deb" "$root"; do
    [ -z "$file" ] || [ -f "$file" ] || fail "$file: no such file"
done
[ -z "$certificates" ] || [ -f "$certificates/ca.crt" ] || fail "$certificates holds no ca.crt"
[ -z "$url" ] || [ -n "$root" ] || fail "--url needs --root: the device must know whom to trust"
for address in $allow; do
    case $address in
    any | 0.0.0.0/0 | ::/0 | *[!0-9a-fA-F.:/]*) fail "--allow $address: give one address, or a network" ;;
    esac
done
[ -n "$dry" ] || [ "$(id -u)" = 0 ] || fail "run it as root, or with --dry-run"

same() { printf 'as it was: %s\n' "$1"; }

# run WHAT COMMAND... : does it, or says that it would
run() {
    what=$1
    shift
    if [ -n "$dry" ]; then
        printf 'would do:  %s\n' "$what"
    else
        "$@"
        printf 'done:      %s\n' "$what"
    fi
}

# put FILE MODE GROUP WHAT : standard input becomes FILE, if it is not so already
put() {
    if [ -n "$dry" ] && ! getent group "$3" >/dev/null; then
        cat >/dev/null
        printf 'would do:  %s\n' "$4"
        return
    fi
    new=$(mktemp)
    cat >"$new"
    if [ -f "$1" ] && cmp -s "$new" "$1" && [ "$(stat -c '%a %G' "$1")" = "$2 $3" ]; then
        same "$4"
    else
        run "$4" install -D -o root -g "$3" -m "$2" "$new" "$1"
    fi
    rm -f "$new"
}

as_device() { runuser -u familiar -- /usr/bin/familiar --home $home --config $etc/config.toml "$@"; }
running() { [ -d /run/systemd/system ]; }

# --- the program
if [ -n "$deb" ]; then
    wanted=$(dpkg-deb -f "$deb" Version)
    if [ "$(dpkg-query -W -f '${Version}' familiar 2>/dev/null)" = "$wanted" ]; then
        same "familiar $wanted is installed"
    else
        run "install familiar $wanted" apt-get -qq install -y --allow-downgrades "$(realpath "$deb")"
    fi
fi
[ -n "$dry" ] || command -v familiar >/dev/null || fail "familiar is not installed; give --deb FILE"

# --- nothing of memory reaches a disk (P5)
if grep -q '^/' /proc/swaps 2>/dev/null; then
    run "switch swap off" swapoff -a
else
    same "no swap is in use"
fi
if [ -e $units/dphys-swapfile.service ] || [ -e /lib/systemd/system/dphys-swapfile.service ]; then
    run "keep swap off" systemctl mask dphys-swapfile.service
fi
echo 'kernel.core_pattern = |/bin/false' |
    put /etc/sysctl.d/60-familiar.conf 644 root "no core dumps, after the next start"

# --- configuration and certificates
if command -v familiar >/dev/null; then
    familiar config check "$config" || fail "$config is not well: see above"
fi
put $etc/config.toml 640 familiar "the configuration" <"$config"
if [ -n "$certificates" ]; then
    for file in "$certificates"/*.crt "$certificates"/*.key; do
        put "$etc/broker/${file##*/}" 640 familiar "${file##*/} of the broker" <"$file"
    done
fi

# --- what the services may reach, and the sealed key
{
    echo '# Written by familiar-provision.'
    echo '[Service]'
    for address in $allow; do echo "IPAddressAllow=$address"; done
    [ -z "$seal" ] || echo "LoadCredentialEncrypted=store.key:$etc/store.key.cred"
} >"${TMPDIR:-/tmp}/familiar-provision.$$"
for unit in familiar.service familiar-sync.service; do
    put $units/$unit.d/provision.conf 644 root "what $unit may reach" \
        <"${TMPDIR:-/tmp}/familiar-provision.$$"
done
rm -f "${TMPDIR:-/tmp}/familiar-provision.$$"

# --- the fleet
if [ -n "$url" ]; then
    if [ -e $home/fleet ]; then
        same "it belongs to a fleet"
    elif [ -n "$dry" ]; then
        printf 'would do:  join the fleet at %s\n' "$url"
    else
        install -o familiar -g familiar -m 600 "$root" $home/root.json
        if as_device sync --url "$url" --root $home/root.json; then
            echo "done:      joined the fleet"
        else
            echo "Hand $home/device.json to the operator (\`familiar operator add-device\`), then run this again."
        fi
    fi
fi

if [ -n "$seal" ]; then
    if [ -e $etc/store.key.cred ]; then
        same "the store's key is sealed"
    elif [ -n "$dry" ]; then
        echo "would do:  seal the store's key to this machine"
    else
        [ -e $home/keys/store.key ] || as_device people list >/dev/null # which makes it
        systemd-creds encrypt --name=store.key $home/keys/store.key $etc/store.key.cred
        rm $home/keys/store.key
        echo "done:      seal the store's key to this machine"
    fi
fi

# --- the services
for unit in familiar.service ${url:+familiar-sync.timer}; do
    if [ -e $units/multi-user.target.wants/"$unit" ] || [ -e $units/timers.target.wants/"$unit" ]; then
        same "$unit starts with the machine"
    else
        run "let $unit start with the machine" systemctl enable --quiet "$unit"
    fi
done
if [ -n "$dry" ]; then
    echo "would do:  start it"
elif running; then
    systemctl daemon-reload
    systemctl restart familiar.service ${url:+familiar-sync.timer}
    echo "done:      started; \`journalctl -u familiar\` says how it goes"
else
    echo "It starts with the machine."
fi
