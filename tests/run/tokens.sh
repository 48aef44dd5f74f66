#!/usr/bin/env bash
# Symbols in a row and on a grid: the same bits on 1 and 2 ranks, a resume, samples, an evaluation.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cat >"$work/tokens.yaml" <<END
model: {family: dit, width: 32, depth: 2, heads: 2, patch: 4}
process: {name: binomial, steps: 20, rate: 0.2}
train: {steps: 20, batch: 32, grains: 4}
optim: {warmup: 0, schedule: constant}
checkpoint: {every: 10}
log: {every: 5, fingerprint_every: 5}
eval: {every: 0}
sample: {every: 10, count: 4}
sampler: {solver: ancestral, steps: 0}
device: {threads: 1}
END

# train RANKS SET RUN KEY=VALUE...
train() { run 0 "$1" train "$work/tokens.yaml" data.path="$work/$2" run.dir="$work/$3" "${@:4}"; }

# compare SET: a run on one rank, one on two that stops half-way, and one on two ranks at a stretch.
compare() {
    train 0 "$1" "$1-1"
    train 2 "$1" "$1-2"
    same "$(fingerprint "$work/$1-2")" "$(fingerprint "$work/$1-1")" "$1: two ranks, and one"
    train 2 "$1" "$1-resumed" train.steps=10
    train 0 "$1" "$1-resumed"
    said "resumed from .*step-000000010" "$1: resume"
    same "$(fingerprint "$work/$1-resumed")" "$(fingerprint "$work/$1-1")" "$1: two ranks, then one"
    run 0 0 verify "$work/$1-1"
    for ranks in 0 2; do
        run 0 $ranks eval "$work/$1-1" --limit 20 --json
        grep -o '"bits_per_[a-z]*": *[^,}]*' "$log" >"$work/eval-$ranks"
    done
    same "$(wc -l <"$work/eval-0")" 1 "figures of an evaluation"
    cmp "$work/eval-0" "$work/eval-2" || die "$1: evaluation differs"
    checked "$1: one rank, two, and a resume: the same; evaluated"
}

run 0 0 pack heartbeat -o "$work/heartbeat"
run 0 0 inspect "$work/heartbeat" --item 7
same "$(tail -n 1 "$log" | tr -d '\n' | wc -c)" 20 "digits of a heartbeat"
compare heartbeat
run 0 0 sample "$work/heartbeat-1" -n 3 -o "$work/bits.txt"
same "$(grep -Ec '^[01]{20}$' "$work/bits.txt")" 3 "lines of 20 bits"
same "$(wc -l <"$work/heartbeat-1/samples/step-000000020.txt")" 4 "lines of the run's own samples"
run 78 0 train "$work/tokens.yaml" data.path="$work/heartbeat" run.dir="$work/length" data.length=5
said "is of kind tokens: text needs a length" "a length that has no meaning"
checked "samples of rows are lines; data.length is refused"

# 40 glyphs: a bar that wanders.
for i in {0..39}; do
    row=$(printf '%04X' $((3 << i % 15)))
    printf '%04X:%s\n' "$i" "$(printf "$row%.0s" {1..16})"
done >"$work/bars.hex"
run 0 0 pack "$work/bars.hex" -o "$work/bars"
compare bars
run 0 0 sample "$work/bars-1" -n 4 -o "$work/bars.png"
for png in "$work/bars.png" "$work/bars-1/samples/step-000000020.png"; do
    same "$(head -c 8 "$png" | od -An -tx1 | tr -d ' ')" 89504e470d0a1a0a "PNG signature"
done
checked "samples of grids are pictures"
