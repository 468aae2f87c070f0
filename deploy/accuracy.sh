#!/bin/bash
# Measures every accuracy target on the benchmark in LFW: two evaluations at a time.
#   deploy/accuracy.sh LFW OUT           all of it
#   deploy/accuracy.sh LFW OUT --short   what takes two minutes, held against the recorded figures
set -eu -o pipefail
lfw=$1 out=$2 form=${3:-}
if [ ! -d "$lfw/images" ]; then
  echo "No benchmark in $lfw: nothing was measured. Name one with images/, pairs.csv and" \
    "exclude.csv: make accuracy LFW=DIR" >&2
  exit 0
fi
rm -rf "$out" && mkdir -p "$out"
familiar=${FAMILIAR:-.venv/bin/familiar}
export TERM=dumb # two progress bars on one terminal would overwrite each other

evaluate() { # NAME COMMAND... : writes NAME.json, NAME.html and NAME.log
  local name=$1
  shift
  if "$familiar" evaluate "$@" --json "$out/$name.json" --report "$out/$name.html" \
    >"$out/$name.log" 2>&1; then
    echo "measured: $name"
  else
    echo "failed: $name, see $out/$name.log" >&2
    return 1
  fi
}
images=(--images "$lfw/images")
exclude=(--exclude "$lfw/exclude.csv")
verification() { evaluate verification verification "${images[@]}" --pairs "$lfw/pairs.csv"; }
identification() { # K [EMBEDDER]
  local name=identification_$1${2:+_$2}
  evaluate "$name" identification "${images[@]}" "${exclude[@]}" --enrol-images "$1" \
    --embedder "${2:-int8}"
}
detection() { # COUNT
  "$familiar" evaluate make-scenes "${images[@]}" --out "$out/scenes" --seed 1 --count "$1" \
    >"$out/scenes.log" 2>&1
  evaluate detection detection --scenes "$out/scenes" --truth "$out/scenes/truth.json"
  rm -rf "$out/scenes"
}
video() { evaluate video video "${images[@]}" "${exclude[@]}"; }
liveness() { evaluate liveness liveness "${images[@]}"; }

if [ "$form" = --short ]; then
  verification & first=$!
  identification 3
  wait "$first"
  exec "$familiar" evaluate targets --results "$out" --against docs/accuracy.json
fi
{ verification && identification 1 && identification 3 && detection 200; } & first=$!
identification 1 float && identification 3 float
wait "$first"
liveness & first=$!
video
wait "$first"
exec "$familiar" evaluate targets --results "$out"
