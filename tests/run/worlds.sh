#!/usr/bin/env bash
# The same bits for any number of ranks and threads: curves, fingerprints and checkpoint files of
# the shipped configurations. worlds.sh [--long]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

grid="1:1 1:2 2:2 3:1" # ranks:threads
[ "${1:-}" != --long ] || grid="1:1 1:2 1:3 2:1 2:2 3:1 3:2 4:1 4:2 5:1 6:1 7:1 8:1 8:2"

# compare NAME ARGUMENT...: all of the grid against its first entry. The run folder has the same
# name each time and is moved aside afterwards, so that checkpoints may be compared as they are.
compare() {
    local name=$1 entry ranks threads first=
    shift
    for entry in $grid; do
        ranks=${entry%:*}
        threads=${entry#*:}
        run 0 "$ranks" train "$@" run.dir="$work/run" device.threads="$threads"
        mv "$work/run" "$work/$name-$entry"
        if [ -z "$first" ]; then
            first=$work/$name-$entry
            curve "$first" >"$work/$name.curve"
            [ -s "$work/$name.curve" ] || die "$name wrote no metrics"
            continue
        fi
        curve "$work/$name-$entry" | diff "$work/$name.curve" - ||
            die "$name: $ranks ranks with $threads threads train otherwise than 1 rank"
        same_checkpoints "$first" "$work/$name-$entry"
        rm -rf "${work:?}/$name-$entry"
    done
    checked "$name: $(fingerprint "$first") for ranks:threads $grid; checkpoints byte for byte"
}

same_checkpoints() {
    local step
    same "$(checkpoints "$1")" "$(checkpoints "$2")" "checkpoints"
    for step in $(checkpoints "$1"); do
        diff -r "$1/$step" "$2/$step" || die "$2: other bytes in $step"
    done
}

short=(train.steps=20 train.batch=16 train.grains=8 checkpoint.every=10 log.every=1
    log.fingerprint_every=5 eval.every=0 sample.every=0)

make_pictures
compare fashion-mnist "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" "${short[@]}"

if [ -e /usr/lib/bible.data ]; then
    run 0 0 pack /usr/lib/bible.data -o "$work/bible"
    compare kjv "$root/configs/kjv.yaml" data.path="$work/bible" "${short[@]}" train.batch=8
else
    echo "skip kjv: Debian's bible-kjv-text is not installed"
fi

make_points
grid="1:1 3:1 0:1"
compare swiss-roll "${small[@]}"

run 0 0 train "${small[@]}" run.dir="$work/swiss-roll-1:1"
said "nothing to do|already" "a finished run says so"
checked "a finished run is left as it is"

first=$(fingerprint "$work/swiss-roll-1:1")
run 0 2 train "${small[@]}" train.seed=12345 run.dir="$work/other"
[ "$(fingerprint "$work/other")" != "$first" ] || die "another seed gives the same fingerprint"
checked "another seed trains otherwise"

run 0 0 compare "$work/swiss-roll-1:1" "$work/swiss-roll-1:1"
run fail 0 compare "$work/swiss-roll-1:1" "$work/other"
checked "dye compare tells equal runs from different ones"
