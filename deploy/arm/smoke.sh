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

# emulate BOARD CPU PART FEATURES : run as on this processor, and compare
# LiteRT reads from /proc/cpuinfo what the processor can do, and ends if the answer is an x86's. The
# processor is always named: qemu's default one has SME, whose int8 kernels give wrong numbers there.
emulate() {
    mkdir -p $root/proc
    for core in 0 1 2 3; do
        printf 'processor\t: %s\nBogoMIPS\t: 108.00\nFeatures\t: %s\n' $core "$4"
        printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n'
        printf 'CPU part\t: %s\nCPU revision\t: 3\n\n' "$3"
    done >$root/proc/cpuinfo
    echo "arm-smoke: emulating a $2, as in a $1"
    env -i HOME="$PWD/$work" OPENBLAS_NUM_THREADS=1 PYTHONPATH="$PWD/$work/wheels:$PWD" \
        PYTHONDONTWRITEBYTECODE=1 \
        qemu-aarch64-static -cpu "$2" -L $root $root/usr/bin/python3.11 \
        deploy/arm/outputs.py $work/arm.json
    "$python" deploy/arm/compare.py $work/here.json $work/arm.json
}

PYTHONPATH=. "$python" deploy/arm/outputs.py $work/here.json
emulate "Raspberry Pi 4" cortex-a72 0xd08 "fp asimd evtstrm crc32 cpuid"
emulate "Raspberry Pi 5" cortex-a76 0xd0b \
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
