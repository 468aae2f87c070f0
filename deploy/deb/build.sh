#!/bin/sh
# Builds build/deb/familiar_VERSION_ARCH.deb: [VERSION=1.2.3] deploy/deb/build.sh PYTHON [amd64|arm64]
# The package holds the program, its networks, and the pinned and hashed wheels of
# deploy/requirements/run.txt, in a folder of its own; nothing of it is compiled here, so the other
# architecture needs no other machine. It is for the Python version of PYTHON: 3.11 for Debian 12.
# The same commit gives the same bytes.
set -eu
cd "$(dirname "$0")/../.."
python=$1
arch=${2:-$(dpkg --print-architecture)}
umask 022

fail() {
    printf 'deb: %s\n' "$*" >&2
    exit 1
}

case $arch in
amd64) machine=x86_64 ;;
arm64) machine=aarch64 ;;
*) fail "there are no wheels for $arch; build for amd64 or arm64" ;;
esac
command -v dpkg-deb >/dev/null || fail "please run:  sudo apt-get install dpkg   and try again"
minor=$("$python" -c 'import sys; print(sys.version_info[1])')
version=${VERSION:-$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' edge_app/__init__.py)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

work=build/deb/$arch-3.$minor
wheels=$work/wheels
tree=$work/tree
mkdir -p "$work"

if [ -z "$(find "$work/.wheels" -newer deploy/requirements/run.txt 2>/dev/null)" ]; then
    echo "deb: fetching the $machine wheels of deploy/requirements/run.txt for Python 3.$minor"
    rm -rf "$wheels"
    platforms="--platform manylinux2014_$machine"
    for tag in 2_28 2_27 2_26 2_17; do # Debian 12 has glibc 2.36
        platforms="$platforms --platform manylinux_${tag}_$machine"
    done
    # shellcheck disable=SC2086  # a list of options, meant to be split
    "$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-deps \
        --no-compile --target "$wheels" $platforms --only-binary=:all: --implementation cp \
        --python-version "3.$minor" --require-hashes -r deploy/requirements/run.txt ||
        fail "the wheels could not be fetched: see pip's lines above; is the network there?"
    rm -rf "${wheels:?}/bin" # programs of the packages; their first lines name this machine's Python
    touch "$work/.wheels"
fi

rm -rf "$tree"
inside=$tree/usr/lib/familiar
documents=$tree/usr/share/doc/familiar
mkdir -p "$inside" "$documents" "$tree/DEBIAN"
cp -R "$wheels/." edge_app "$inside/"
mkdir "$inside/edge_app/_models"
sed -i "s/^__version__ = .*/__version__ = \"$version\"/" "$inside/edge_app/__init__.py"
cp -R models/*.tflite models/manifest.json models/calibration models/cards "$inside/edge_app/_models/"
find "$inside" -name __pycache__ -prune -exec rm -rf {} +

install -D -m 755 deploy/deb/familiar "$tree/usr/bin/familiar"
install -D -m 755 deploy/provision.sh "$tree/usr/sbin/familiar-provision"
install -D -m 644 deploy/deb/config.toml "$tree/etc/familiar/config.toml"
install -D -m 644 deploy/deb/sysusers.conf "$tree/usr/lib/sysusers.d/familiar.conf"
install -D -m 644 deploy/deb/tmpfiles.conf "$tree/usr/lib/tmpfiles.d/familiar.conf"
for unit in familiar.service familiar-sync.service familiar-sync.timer familiar-station.service \
    familiar-operator.service; do
    install -D -m 644 "systemd/$unit" "$tree/lib/systemd/system/$unit"
done
install -D -m 644 deploy/deb/familiar.1 "$tree/usr/share/man/man1/familiar.1"
gzip -9n "$tree/usr/share/man/man1/familiar.1"
install -m 644 README.md docs/promises.md docs/provisioning.md "$documents/"
install -m 644 CHANGELOG.md "$documents/changelog"
gzip -9n "$documents/changelog"

# Whose work is in it: ours, the networks', and what each wheel says of itself.
{
    cat deploy/deb/copyright
    for wheel in "$inside"/*.dist-info; do
        name=$(basename "$wheel" .dist-info)
        licence=$(sed -n 's/^License-Expression: //p; s/^Classifier: License :: .* :: //p; /^$/q' \
            "$wheel/METADATA" | LC_ALL=C sort -u | paste -sd, | sed 's/,/, /g')
        printf ' %s: %s\n' "$name" "${licence:-see its folder}"
    done
} >"$documents/copyright"
chmod -R u=rwX,go=rX "$tree"

for script in preinst postinst prerm postrm; do
    [ ! -f "deploy/deb/$script" ] || install -m 755 "deploy/deb/$script" "$tree/DEBIAN/$script"
done
echo /etc/familiar/config.toml >"$tree/DEBIAN/conffiles"
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@MINOR@/$minor/" \
    -e "s/@NEXT@/$((minor + 1))/" -e "s/@SIZE@/$(du -sk --apparent-size "$tree" | cut -f1)/" \
    deploy/deb/control >"$tree/DEBIAN/control"
(cd "$tree" && find usr lib -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) \
    >"$tree/DEBIAN/md5sums"
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

made=build/deb/familiar_${version}_$arch.deb
dpkg-deb --root-owner-group -Zzstd --build "$tree" "$made" >/dev/null
echo "$made"
