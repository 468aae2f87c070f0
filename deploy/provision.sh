#!/bin/sh
# From a fresh Raspberry Pi OS (64-bit) or Debian 12 to a running device; as root.
#   familiar-provision --config FILE [options]
#     --config FILE        the device's configuration, checked before it is put in place
#     --deb FILE           install or update the package first
#     --certificates DIR   what `familiar broker add` wrote for this device: ca.crt, client.crt and
#                          client.key
#     --url URL --root FILE  the fleet's gallery, and the root metadata that the operator handed out
#     --allow ADDRESS      the services may reach this address, network or host (whose addresses of
#                          now are taken): broker, gallery, network camera, and the name server if
#                          any of them has a name; may be given several times
#     --seal               seal the keys of store, device and broker to this machine (systemd-creds);
#                          only the services open them then
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
for file in ${certificates:+ca.crt client.crt client.key}; do
    # The key is gone from there once it was sealed.
    [ -f "$certificates/$file" ] || [ -e "$etc/$file.cred" ] || fail "$certificates holds no $file"
done
[ -z "$url" ] || [ -n "$root" ] || fail "--url needs --root: the device must know whom to trust"
reachable=
for address in $allow; do
    case $address in
    any | */0 | -* | *[!0-9a-zA-Z.:/-]* | */ | */*[!0-9]* | *[!0-9a-fA-F.:]*/*)
        fail "--allow $address: give one address, network or host"
        ;;
    */*) reachable="$reachable $address" ;;
    *)
        # An address is found as itself.
        found=$(getent ahosts "$address" | cut -d' ' -f1 | LC_ALL=C sort -u)
        [ -n "$found" ] || fail "--allow $address: this host is not found; give its address"
        reachable="$reachable $found"
        ;;
    esac
done
broker_key=/run/credentials/familiar.service/client.key
[ -z "$seal" ] || [ -z "$certificates" ] || grep -q "^key_file *= *\"$broker_key\"" "$config" ||
    fail "$config: a sealed key is found at another place; state  key_file = \"$broker_key\"  under [mqtt]"
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

# open_keys : what is sealed, opened where the device's user finds it, in memory and for now
open_keys() {
    opened=$(mktemp -d /run/familiar-provision.XXXXXX)
    trap 'rm -rf "$opened"' EXIT
    for name in store.key device.key; do
        [ ! -e "$etc/$name.cred" ] ||
            systemd-creds decrypt --name="$name" "$etc/$name.cred" "$opened/$name"
    done
    chown -R familiar: "$opened"
}

as_device() {
    CREDENTIALS_DIRECTORY=$opened runuser -u familiar -- \
        /usr/bin/familiar --home $home --config $etc/config.toml "$@"
}

# seal NAME FILE : FILE, or else a new key, is sealed; FILE is removed
seal() {
    if [ -e "$etc/$1.cred" ]; then
        same "$1 is sealed"
    elif [ -n "$dry" ]; then
        printf "would do:  seal %s to this machine\n" "$1"
        return
    else
        (
            umask 077
            rm -f "$etc/$1.new"
            if [ -e "$2" ]; then cat "$2"; else head -c 32 /dev/urandom; fi |
                systemd-creds encrypt --name="$1" - "$etc/$1.new"
            mv "$etc/$1.new" "$etc/$1.cred"
        )
        printf 'done:      seal %s to this machine\n' "$1"
    fi
    if [ -e "$2" ] && [ -z "$dry" ]; then
        systemd-creds decrypt --name="$1" "$etc/$1.cred" - | cmp -s - "$2" ||
            fail "$2 is another key than the sealed one; move it away, or $etc/$1.cred"
        rm "$2"
    fi
}

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
if [ "$(readlink $units/dphys-swapfile.service)" = /dev/null ]; then
    same "Raspberry Pi OS makes no swap file"
elif [ -e /lib/systemd/system/dphys-swapfile.service ]; then
    run "keep Raspberry Pi OS from making a swap file" systemctl mask --quiet dphys-swapfile.service
fi
if [ "$(readlink $units/swap.target)" = /dev/null ]; then
    same "swap stays off"
else
    run "keep swap off, after the next start too" systemctl mask --quiet swap.target
fi
echo 'kernel.core_pattern = |/bin/false' |
    put /etc/sysctl.d/60-familiar.conf 644 root "no core dumps, after the next start"

# --- configuration and certificates
if command -v familiar >/dev/null; then
    familiar config check "$config" || fail "$config is not well: see above"
fi
put $etc/config.toml 640 familiar "the configuration" <"$config"
for file in ${certificates:+ca.crt client.crt}; do
    put "$etc/broker/$file" 640 familiar "$file of the broker" <"$certificates/$file"
done
if [ -n "$certificates" ] && [ -z "$seal" ] && [ ! -e $etc/client.key.cred ]; then
    put $etc/broker/client.key 640 familiar "client.key of the broker" <"$certificates/client.key"
fi

# --- the keys
if [ -n "$seal" ]; then
    for name in store.key device.key; do seal $name $home/keys/$name; done
    [ -z "$certificates" ] || seal client.key "$certificates/client.key"
    # From a time before --seal.
    [ ! -e $etc/broker/client.key ] || run "remove the broker's open key" rm $etc/broker/client.key
fi

# --- what the services may reach, and the sealed keys
# drop_in CREDENTIAL...
drop_in() {
    echo '# Written by familiar-provision.'
    echo '[Service]'
    for address in $reachable; do echo "IPAddressAllow=$address"; done
    for name in "$@"; do
        # Also those that were sealed when it ran before.
        [ ! -e "$etc/$name.cred" ] || echo "LoadCredentialEncrypted=$name:$etc/$name.cred"
    done
}
drop_in store.key device.key client.key |
    put $units/familiar.service.d/provision.conf 644 root "what familiar.service may reach"
drop_in store.key device.key |
    put $units/familiar-sync.service.d/provision.conf 644 root "what familiar-sync.service may reach"

# --- the fleet
if [ -n "$url" ]; then
    if [ -e $home/fleet/source.json ]; then
        same "it belongs to a fleet"
    elif [ -n "$dry" ]; then
        printf 'would do:  join the fleet at %s\n' "$url"
    else
        open_keys
        install -o familiar -g familiar -m 400 "$root" "$opened/root.json"
        if as_device sync --url "$url" --root "$opened/root.json"; then
            echo "done:      joined the fleet"
        else
            echo "Hand $home/device.json to the operator (\`familiar operator add-device\`), then run this again."
        fi
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
