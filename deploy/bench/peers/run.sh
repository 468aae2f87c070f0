#!/bin/sh
# From one raw 1080p frame to a matched identity among 50,000: dlib's face_recognition, Human with its
# WASM backend, and this program, on one core each: deploy/bench/peers/run.sh PYTHON
# The peers live in environments of their own under build/bench-peers, which `make clean` removes.
# dlib is compiled: that takes ten minutes and more, once.
set -eu
cd "$(dirname "$0")/../../.."
python=$1
here=deploy/bench/peers
work=build/bench-peers

fail() {
    printf 'bench-peers: %s\n' "$*" >&2
    exit 1
}

for tool in npm node cmake g++ taskset; do
    command -v $tool >/dev/null || fail "$tool is missing; please install npm, cmake, g++ and util-linux"
done
mkdir -p $work
trap 'rm -rf $work/scene' EXIT

if [ ! -e $work/dlib/.installed ]; then
    echo "bench-peers: compiling dlib (ten minutes and more, once)"
    "$python" -m venv --clear $work/dlib
    # face_recognition_models asks for pkg_resources, which newer setuptools no longer have.
    $work/dlib/bin/python -m pip install -qq --disable-pip-version-check -r $here/dlib.txt \
        >$work/dlib.log 2>&1 ||
        fail "dlib could not be installed: see $work/dlib.log; is the network there?"
    touch $work/dlib/.installed
fi
if [ ! -e $work/human/.installed ]; then
    echo "bench-peers: fetching Human"
    mkdir -p $work/human
    cp $here/package.json $here/human.mjs $work/human/
    npm install --silent --no-audit --no-fund --prefix $work/human >$work/npm.log 2>&1 ||
        fail "Human could not be installed: see $work/npm.log; is the network there?"
    touch $work/human/.installed
fi

PYTHONPATH=. "$python" $here/ours.py compose $work/scene
for peer in "$work/dlib/bin/python $here/dlib_peer.py" "node $work/human/human.mjs" \
    "$python $here/ours.py measure"; do
    # shellcheck disable=SC2086  # a command and its arguments, meant to be split
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONPATH=. taskset -c 0 $peer $work/scene \
        >>$work/scene/results.jsonl 2>$work/peer.log ||
        fail "$peer failed: see $work/peer.log"
done
"$python" $here/ratios.py $work/scene/results.jsonl $work/peers.json
