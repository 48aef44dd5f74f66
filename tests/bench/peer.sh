#!/usr/bin/env bash
# Dye against the same training in PyTorch on the same cores: builds Dye, makes the peer's
# environment and the data, checks that both compute the same, times them in turns.
#
#   tests/bench/peer.sh [--quick | --rounds N] [--only NAME] [--json FILE]
#
# --quick       2 rounds of 3 seconds instead of 6 of 8
# --rounds N    N rounds of 8 seconds
# --only NAME   fashion-mnist, kjv or dit-s2; several --only are fine
# --json FILE   one object a comparison is added to it
#
# Prints "ratio NAME X.XX (dye ... samples/s, torch ... samples/s, mode ...)": Dye's rate over that of
# the peer's best mode; then memory and the time to the first step. Not below 1 is the goal for the
# first, not above 1 for the others.
#
# DYE_PEER_VENV   the peer's environment (default: build/peer); made if torch is not in it
# DYE_PEER_CORES  the cores for both, as taskset -c takes them (default: those allowed)
# DYE_DATA        folder of packed data (default: data-packed)
# DYE             the program (default: build/dye, which is built first)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/tests/bench

say() { echo "peer: $*"; }
stop() {
    echo "peer: $2" >&2
    exit "$1"
}

names=()
options=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick) options+=(--rounds 2 --seconds 3) ;;
    --only | --json | --rounds)
        [ $# -ge 2 ] || stop 2 "$1 needs a word behind it"
        case $1 in
        --rounds) options+=(--rounds "$2") ;;
        --only) names+=("$2") ;;
        --json) options+=(--json "$(realpath -m "$2")") ;;
        esac
        shift
        ;;
    *) stop 2 "unknown argument $1 (known: --quick, --rounds N, --only NAME, --json FILE)" ;;
    esac
    shift
done
[ ${#names[@]} -gt 0 ] || names=(fashion-mnist kjv dit-s2)
for name in "${names[@]}"; do
    case $name in
    fashion-mnist | kjv | dit-s2) ;;
    *) stop 2 "there is no '$name'; known are fashion-mnist, kjv and dit-s2" ;;
    esac
done

if [ -z "${DYE:-}" ]; then
    say "building"
    cmake -S "$root" -B "$root/build" -DCMAKE_BUILD_TYPE=Release >/dev/null
    cmake --build "$root/build" -j "$(nproc)" --target dye dump_step >/dev/null
fi
DYE=$(realpath -m "${DYE:-$root/build/dye}")
export DYE
dump_step=$(dirname "$DYE")/tests/dump_step
[ -x "$DYE" ] && [ -x "$dump_step" ] || stop 69 "$DYE or $dump_step is not there"

venv=$(realpath -m "${DYE_PEER_VENV:-$root/build/peer}")
if ! "$venv/bin/python" -c 'import numpy, torch' 2>/dev/null; then
    say "making $venv with torch and numpy"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q torch numpy
fi
# Intel's OpenMP may serve the peer better than GNU's: both are tried.
[ -e "$venv/lib/libiomp5.so" ] || "$venv/bin/pip" install -q intel-openmp ||
    say "intel-openmp could not be installed: the peer goes without"
iomp=$venv/lib/libiomp5.so
[ -e "$iomp" ] || iomp=

compare= # process id
work=$(mktemp -d "${TMPDIR:-/tmp}/dye-peer-XXXXXX")
trap '[ -z "$compare" ] || kill "$compare" 2>/dev/null || :; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# IDX files of noise, 32x32, 512 and 16 pictures in 10 classes.
noise_pictures() {
    "$venv/bin/python" - "$1" <<'END'
import sys, numpy, os
os.makedirs(sys.argv[1])
random = numpy.random.default_rng(0)
for name, count in (("train", 512), ("t10k", 16)):
    for kind, dims in (("images-idx3", (count, 32, 32)), ("labels-idx1", (count,))):
        data = random.integers(0, 256 if len(dims) == 3 else 10, dims, numpy.uint8)
        with open(f"{sys.argv[1]}/{name}-{kind}-ubyte", "wb") as file:
            file.write(bytes([0, 0, 8, len(dims)]))
            file.write(b"".join(d.to_bytes(4, "big") for d in dims) + data.tobytes())
END
}

data_of() {
    local data=${DYE_DATA:-$root/data-packed}/$1
    if [ "$1" = dit-s2 ]; then
        noise_pictures "$work/noise" && "$DYE" pack "$work/noise" -o "$work/data" >/dev/null
        data=$work/data
    elif [ ! -e "$data" ]; then
        "$root/launch/get-data.sh" "$1" >&2
        data=$root/data-packed/$1
    fi
    echo "$data"
}

precisions=(fp32)
if "$DYE" help config | grep -q '^ *precision:\|model\.precision'; then
    precisions+=(bf16)
else
    say "this dye has no model.precision: bf16 is left out"
fi
if [ -n "${DYE_PEER_CORES:-}" ]; then taskset -cp "$DYE_PEER_CORES" $$ >/dev/null; fi
say "$("$DYE" --version | head -n 1); $(uname -n), cores $(taskset -cp $$ | sed 's/.*: //')," \
    "load $(cut -d' ' -f1-3 /proc/loadavg)"

cases=()
for name in "${names[@]}"; do
    config=$root/configs/$name.yaml
    [ -e "$config" ] || config=$here/$name.yaml
    data=$(data_of "$name")
    for precision in "${precisions[@]}"; do
        key=()
        suffix=
        if [ "$precision" = bf16 ]; then
            key=(model.precision=bf16)
            suffix=+bf16
        fi
        # The check takes few samples; the peer is timed with the batch of the configuration.
        "$dump_step" "$config" "$work/check" data.path="$data" train.batch=8 train.grains=4 "${key[@]}"
        "$venv/bin/python" "$here/peer.py" check "$work/check" || stop 1 "$name in $precision: Dye and \
PyTorch do not compute the same, so there is nothing to time"
        "$dump_step" "$config" "$work/$name-$precision" data.path="$data" "${key[@]}"
        cases+=("$name=$config,$work/$name-$precision,$data$suffix")
    done
done
python3 "$here/compare.py" --dye "$DYE" --python "$venv/bin/python" --iomp "$iomp" --work "$work" \
    "${options[@]}" "${cases[@]}" &
compare=$!
wait $compare
