#!/bin/sh
# Runs the pipeline with the aarch64 wheels of our pinned requirements, under qemu-user, and
# compares what it says with this machine: deploy/arm/smoke.sh PYTHON
# For correctness, never for timing. The ARM root is kept in build/arm. Needs no privileges: nothing
# is mounted, packages are only unpacked, and qemu looks into the root before the machine's own.
set -eu
cd "$(dirname "$0")/../.."
python=$1
work=build/arm
root=$work/root

fail() {
    printf 'arm-smoke: %s\n' "$*" >&2
    exit 1
}

for tool in qemu-aarch64-static debootstrap dpkg-deb; do
    command -v $tool >/dev/null || [ -x /usr/sbin/$tool ] ||
        fail "please run:  sudo apt-get install qemu-user-static debootstrap   and try again"
done
[ -f build/media/enrolled-1.jpg ] || fail "the demo's pictures are missing; run  make arm-smoke"
mkdir -p $work

if [ ! -e $work/.root ]; then
    echo "arm-smoke: unpacking Debian bookworm for arm64 (once, about a minute)"
    rm -rf $root
    # debootstrap makes device files and wants root; of its first stage only the packages count.
    PATH=$PATH:/usr/sbin:/sbin debootstrap --arch=arm64 --variant=minbase --foreign \
        --include=python3 bookworm $root >$work/debootstrap.log 2>&1 ||
        fail "debootstrap failed: see $work/debootstrap.log; it needs root and a Debian mirror"
    for package in $root/var/cache/apt/archives/*.deb; do
        dpkg-deb -x "$package" $root
    done
    # LiteRT asks the kernel what the processor can do, and ends if the answer is an x86's. This
    # is a Raspberry Pi 4's.
    mkdir -p $root/proc
    for core in 0 1 2 3; do
        printf 'processor\t: %s\nBogoMIPS\t: 108.00\n' $core
        printf 'Features\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n'
        printf 'CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n'
    done >$root/proc/cpuinfo
    touch $work/.root
fi

if [ ! $work/.wheels -nt deploy/requirements/run.txt ]; then
    echo "arm-smoke: fetching the aarch64 wheels of deploy/requirements/run.txt"
    rm -rf $work/wheels
    platforms=
    for tag in 2_28 2_27 2_26 2_17; do
        platforms="$platforms --platform manylinux_${tag}_aarch64"
    done
    # shellcheck disable=SC2086  # a list of options, meant to be split
    "$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-deps \
        --target $work/wheels $platforms --platform manylinux2014_aarch64 --only-binary=:all: \
        --implementation cp --python-version 3.11 --require-hashes -r deploy/requirements/run.txt ||
        fail "the wheels could not be fetched: see pip's lines above; is the network there?"
    touch $work/.wheels
fi

PYTHONPATH=. "$python" deploy/arm/outputs.py $work/here.json
echo "arm-smoke: the same on emulated ARM (about a minute)"
env -i HOME="$PWD/$work" OPENBLAS_NUM_THREADS=1 PYTHONPATH="$PWD/$work/wheels:$PWD" \
    PYTHONDONTWRITEBYTECODE=1 \
    qemu-aarch64-static -L $root $root/usr/bin/python3.11 deploy/arm/outputs.py $work/arm.json
"$python" deploy/arm/compare.py $work/here.json $work/arm.json
