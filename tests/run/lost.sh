#!/usr/bin/env bash
# A part of the data that cannot be read: named, and the end of the run; or left out, with the same
# bits for any number of ranks, and for good.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# 5,000 texts of 20 letters in five groups of a shard.
python3 - "$work/text.txt" <<'END'
import sys
state, out = 1, []
for i in range(1400000):
    state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
    out.append(chr(97 + (state >> 33) % 26))
open(sys.argv[1], "w").write("".join(out))
END
run 0 0 pack "$work/text.txt" -o "$work/whole" --form letters27
cp -r "$work/whole" "$work/hurt"
shard=$work/hurt/train-text-00000.zst
# A byte in the third group.
printf 'X' | dd of="$shard" bs=1 seek=$(($(stat -c %s "$shard") / 2)) conv=notrunc status=none
small=("$root/configs/kjv.yaml" data.length=20 model.width=32 model.depth=1 model.heads=2
    train.steps=30 train.batch=256 train.grains=4 checkpoint.every=20 checkpoint.keep=9 log.every=1
    eval.every=0 sample.every=0 device.threads=1)

run 65 2 train "${small[@]}" data.path="$work/hurt" run.dir="$work/stopped"
said "train-text-00000.zst, group [23] \(items [0-9]+ to [0-9]+\) cannot be read: .*wrong hash.*; next try in" "what is tried again"
said "error BAD_DATA: .*train-text-00000.zst: block [23] \(bytes [0-9]+ to [0-9]+\) is damaged" "what is lost"
checked "a damaged group ends the run, by its name"

for ranks in 0 2 4; do
    run 0 $ranks train "${small[@]}" data.path="$work/hurt" data.lost=skip run.dir="$work/skipped-$ranks"
    said "step [0-9]+: 1310[678] of [0-9]+ samples of the data could not be read, 1310[678] of them new: samples [0-9]+-[0-9]+ are left out from now on" "the loss"
    said "1310[678] samples lost" "the progress"
    grep -q '"lost": 1310[678]' "$work/skipped-$ranks/metrics.jsonl" || die "no losses in metrics.jsonl"
    same "$(fingerprint "$work/skipped-$ranks")" "$(fingerprint "$work/skipped-0")" "fingerprints"
done
checked "left out, the run goes on: the same bits for 1, 2 and 4 ranks"

# The list is in the checkpoint: data that are whole again change nothing.
cp -r "$work/skipped-2" "$work/resumed"
rm -r "$work/resumed/step-000000030"
run 0 2 train "${small[@]}" data.path="$work/whole" data.lost=skip run.dir="$work/resumed"
said "resumed from .*step-000000020" "the resume"
same "$(fingerprint "$work/resumed")" "$(fingerprint "$work/skipped-0")" "after a resume with whole data"
run 0 0 train "${small[@]}" data.path="$work/whole" run.dir="$work/plain"
[ "$(fingerprint "$work/plain")" != "$(fingerprint "$work/skipped-0")" ] || die "nothing was left out"
checked "resumed with the data mended: the samples stay left out"

# Damage in one rank's copy alone: no other rank uses those samples either, so that a resume, which
# leaves them out everywhere, comes to the same.
mkdir "$work/a" "$work/b"
cp -r "$work/whole" "$work/a/set"
cp -r "$work/hurt" "$work/b/set"
apart() { # RUN: rank 0 reads a/set, rank 1 b/set
    local words=("$dye" train "${small[@]}" data.path=set data.lost=skip run.dir="$work/$1")
    timeout 60 mpirun --oversubscribe --bind-to none -n 1 -wdir "$work/a" "${words[@]}" : \
        -n 1 -wdir "$work/b" "${words[@]}" </dev/null >"$log" 2>&1 || die "two copies: $1"
}
apart apart
said "1310[678] samples lost" "a loss of rank 1 alone"
cp -r "$work/apart" "$work/apart-resumed"
rm -r "$work/apart-resumed/step-000000030"
apart apart-resumed
said "resumed from .*step-000000020" "the resume of two copies"
same "$(fingerprint "$work/apart-resumed")" "$(fingerprint "$work/apart")" "one copy damaged, resumed"
checked "one rank's copy damaged: left out by all, the same after a resume"

rm "$work/hurt/train-text-00000.zst"
run 65 0 train "${small[@]}" data.path="$work/hurt" run.dir="$work/none"
said "train-text-00000.zst: is missing; copy it again or pack again" "what is missing"
run 65 2 train "${small[@]}" data.path="$work/hurt" data.lost=skip run.dir="$work/none"
said "cannot be read: too much for data.lost = skip" "too much"
checked "a missing shard is named before training, and nothing is no training"
