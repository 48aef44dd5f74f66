#!/usr/bin/env bash
# One flipped bit in any file of a checkpoint or a data set is found and named; training falls back
# to the checkpoint before, stops when none is left, and never starts over by itself.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
run 0 2 train "${small[@]}" run.dir="$work/whole"
expected=$(fingerprint "$work/whole")
run 0 0 verify "$work/whole"
run 0 0 verify "$work/whole/$(newest "$work/whole")"
run 0 0 verify "$work/points"
checked "whole run, checkpoint and data set verify"

# places FILE: some offsets, the first and last byte among them.
places() {
    local size
    size=$(stat -c %s "$1")
    echo 0 $((size / 5)) $((size / 2)) $((size * 4 / 5)) $((size - 1))
}

# hurt FOLDER WHAT: every file, at several places, is found out by `dye verify FOLDER`.
hurt() {
    local file place count=0
    while read -r file; do
        cp "$file" "$work/saved"
        for place in $(places "$file"); do
            flip "$file" "$place"
            run 65 0 verify "$1"
            said "$(basename "$file")" "byte $place of $file flipped: the file is not named"
            cp "$work/saved" "$file"
            count=$((count + 1))
        done
    done < <(find "$1" -type f | sort)
    run 0 0 verify "$1"
    checked "$2: $count flipped bits, each found and named"
}

last=$work/whole/$(newest "$work/whole")
hurt "$last" "checkpoint"
hurt "$work/points" "data set"

rm "$last/$(cd "$last" && ls | grep -v manifest | head -n 1)"
run 65 0 verify "$last"
checked "a missing part is found"

# A run of which the newest checkpoints are damaged goes on from the newest good one.
run 0 2 train "${small[@]}" train.steps=400 run.dir="$work/base"
names=($(checkpoints "$work/base"))
[ ${#names[@]} -eq 3 ] || die "checkpoint.keep=3 left ${names[*]}"
checked "checkpoint.keep=3 leaves three"

for victim in part manifest truncated; do
    rm -rf "$work/hurt"
    cp -r "$work/base" "$work/hurt"
    for file in "$work/hurt/${names[2]}"/*; do
        size=$(stat -c %s "$file")
        case $victim:$(basename "$file") in
        part:part*) flip "$file" $((size / 2)) ;;
        manifest:manifest.json) flip "$file" $((size / 2)) ;;
        truncated:part*) truncate -s $((size / 2)) "$file" ;;
        esac
    done
    run 0 3 train "${small[@]}" run.dir="$work/hurt"
    said "${names[2]}" "$victim damaged: the damaged checkpoint is not named"
    said "resumed from .*${names[1]}" "$victim damaged: the one before is not taken"
    same "$(fingerprint "$work/hurt")" "$expected" "after a damaged $victim"
    run 0 0 verify "$work/hurt"
    checked "damaged $victim: named, ${names[1]} taken, same end"
done

rm -rf "$work/hurt"
cp -r "$work/base" "$work/hurt"
for name in "${names[@]}"; do
    for file in "$work/hurt/$name"/part*; do flip "$file" $(($(stat -c %s "$file") / 2)); done
done
run 65 2 train "${small[@]}" run.dir="$work/hurt"
for name in "${names[@]}"; do said "$name" "all damaged: $name is not listed"; done
same "$(checkpoints "$work/hurt" | wc -l)" 3 "damaged checkpoints were removed"
checked "all damaged: refuses, lists them, leaves them"

run 0 2 train "${small[@]}" run.dir="$work/hurt" --fresh
same "$(fingerprint "$work/hurt")" "$expected" "--fresh"
run 0 0 verify "$work/hurt"
checked "--fresh starts over"

shard=$(find "$work/points" -name 'train-vector-*' | head -n 1)
[ -n "$shard" ] || shard=$(find "$work/points" -name 'train-*.zst' | head -n 1)
for place in $(seq 100 4000 $(($(stat -c %s "$shard") - 100))); do flip "$shard" "$place"; done
run 65 2 train "${small[@]}" run.dir="$work/bad-data"
said "$(basename "$shard")" "training on a damaged shard does not name it"
checked "training on a damaged shard stops and names it"

mv "$shard" "$work/away"
run 65 2 train "${small[@]}" run.dir="$work/bad-data"
said "$(basename "$shard")" "training without a shard does not name it"
checked "training without a shard stops and names it"
