#!/usr/bin/env bash
# Dye's data sets against MosaicML Streaming (MDS) and WebDataset, and `tar | zstd`, on the same
# samples in one run: size, packing, and reading in shuffled order on one core and on two.
#
#   tests/bench/data.sh [--quick | --rounds N] [SET...]
#
# SET         fashion-mnist or photo32 (default: both)
# --quick     1 round of 1 second instead of 3 of 3
# --rounds N  N rounds of 3 seconds
#
# Everybody packs and reads below one folder, the files in the page cache; what is read are batches of
# 256 float images in [-1, 1] with labels. "First epoch" counts from the opening on: shards that are
# packed are unpacked in it. Each reader uses the settings (workers or threads, shuffle, decoder) that
# were quickest in a short try. "dye" holds the decoded set in its cache and reads a full permutation;
# "dye-window" has a cache of an eighth of the set and reads in windows, as from a set that no memory
# holds. WebDataset shuffles in a buffer of 1,000.
# The peers write samples that lie decoded in memory; Dye and tar read plain files.
#
# Prints tables and "ratio NAME X.XX": Dye's rate over that of the better peer (also for the rates
# beside `tar | zstd`); for sizes the peer's bytes over Dye's. Above 1 is better for Dye in all of them.
# Exit code 77: the peers cannot be had.
#
# DYE_PEER_VENV  the peers' environment (default: build/peer); made if they are not in it
# DYE_PHOTO32    the file photo32_train.bin.zst (default: ../shared/data/photo32/ beside the source)
# DYE            the program (default: build/dye, which is built first)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/tests/bench

say() { echo "data: $*"; }
stop() {
    echo "data: $2" >&2
    exit "$1"
}

names=()
options=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick) options+=(--rounds 1 --seconds 1) ;;
    --rounds)
        [ $# -ge 2 ] || stop 2 "$1 needs a word behind it"
        options+=(--rounds "$2")
        shift
        ;;
    fashion-mnist | photo32) names+=("$1") ;;
    *) stop 2 "unknown argument $1 (known: --quick, --rounds N, fashion-mnist, photo32)" ;;
    esac
    shift
done
[ ${#names[@]} -gt 0 ] || names=(fashion-mnist photo32)

if [ -z "${DYE:-}" ]; then
    say "building"
    cmake -S "$root" -B "$root/build" -DCMAKE_BUILD_TYPE=Release >/dev/null
    cmake --build "$root/build" -j "$(nproc)" --target dye >/dev/null
fi
DYE=$(realpath -m "${DYE:-$root/build/dye}")
[ -x "$DYE" ] || stop 69 "$DYE is not there"

venv=$(realpath -m "${DYE_PEER_VENV:-$root/build/peer}")
python=$venv/bin/python
if ! "$python" -c 'import streaming, webdataset' 2>/dev/null; then
    say "making $venv with torch, mosaicml-streaming and webdataset"
    { [ -x "$python" ] || python3 -m venv "$venv"; } &&
        "$venv/bin/pip" install -q torch numpy mosaicml-streaming webdataset ||
        stop 77 "the peers could not be installed: there is nothing to compare with"
fi

child= # process id
work=$(mktemp -d "${TMPDIR:-/tmp}/dye-data-XXXXXX")
trap '[ -z "$child" ] || kill "$child" 2>/dev/null || :; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# source_of NAME: a folder or file with the samples, not compressed.
source_of() {
    local file
    case $1 in
    fashion-mnist)
        local installed=/usr/share/datasets/fashion-mnist
        [ -e "$installed" ] || return 1
        mkdir -p "$work/$1/source"
        for file in "$installed"/*-ubyte.gz; do
            gzip -dc "$file" >"$work/$1/source/$(basename "$file" .gz)"
        done
        echo "$work/$1/source"
        ;;
    photo32)
        file=${DYE_PHOTO32:-$root/../shared/data/photo32/photo32_train.bin.zst}
        [ -e "$file" ] || return 1
        mkdir -p "$work/$1/source"
        zstd -q -dc "$file" >"$work/$1/source/data_batch_1.bin"
        echo "$work/$1/source/data_batch_1.bin"
        ;;
    esac
}

say "$("$DYE" --version | head -n 1); $("$venv/bin/pip" list 2>/dev/null |
    grep -E '^(torch|mosaicml-streaming|webdataset) ' | tr -s ' \n' ' ')"
say "$(uname -n), cores $(taskset -cp $$ | sed 's/.*: //'), load $(cut -d' ' -f1-3 /proc/loadavg)"
compared=0
for name in "${names[@]}"; do
    source=$(source_of "$name") || { say "the files of $name are not here: left out" && continue; }
    say "$name"
    "$python" "$here/data_compare.py" "$name" "$source" --dye "$DYE" --work "$work/$name" \
        "${options[@]}" &
    child=$!
    wait $child || stop 1 "$name could not be compared"
    child=
    rm -rf "${work:?}/$name"
    compared=$((compared + 1))
done
[ $compared -gt 0 ] || stop 77 "no set is here"
