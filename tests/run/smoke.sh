#!/usr/bin/env bash
# Every command once, on the smallest data: short enough to run under the sanitizers too.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
run 0 0 verify "$work/points"
run 0 0 inspect "$work/points" --item 1
said points "the data set's name"
checked "pack, verify, inspect"

# A cosine would depend on train.steps, which changes here.
small+=(run.dir="$work/run" checkpoint.every=10 log.every=5 log.fingerprint_every=5
    optim.schedule=constant)
run 0 2 train "${small[@]}" train.steps=20
run 0 0 train "${small[@]}" train.steps=40
said "resumed from .*step-000000020" "resume"
run 0 0 verify "$work/run"
checked "train on two ranks, go on alone, verify"

run 0 3 train "${small[@]}" train.steps=40 run.dir="$work/again"
same "$(fingerprint "$work/again")" "$(fingerprint "$work/run")" "three ranks, and two then one"
run 0 0 compare "$work/run" "$work/again"
checked "three ranks: the same fingerprint"

run 0 0 sample "$work/run" -n 3 -o "$work/points.txt"
same "$(wc -l <"$work/points.txt")" 3 "lines for 3 points"
run 0 0 eval "$work/run" --limit 20
run 0 2 eval "$work/run" --limit 20 --json
checked "sample, eval"
