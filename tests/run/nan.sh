#!/usr/bin/env bash
# Numbers that are not finite and weights that differ between ranks, planted by DYE_DRILL: named,
# skipped, taken back, left out; the same bits for any number of ranks and through a kill.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

run 0 0 pack swiss-roll -o "$work/points" --items 2000
small=("$root/configs/swiss-roll.yaml" data.path="$work/points" train.steps=300 train.batch=64
    train.grains=8 checkpoint.every=20 checkpoint.keep=99 log.every=1 log.fingerprint_every=15
    eval.every=0 sample.every=0 device.threads=1)
host=$(uname -n)

run 0 2 train "${small[@]}" run.dir="$work/plain"
plain=$(fingerprint "$work/plain")

# ---- a bad sample: once in each epoch of 31 steps ----
export DYE_DRILL="nan=500"
for ranks in 1 2 3; do
    run 0 $ranks train "${small[@]}" optim.skips_most=1 run.dir="$work/bad"
    said "step [0-9]+: the gradient of grain [0-7] \\(rank [0-2] on $host\\) is not finite, first in final_layer.linear.bias; .*: 500 \([0-9]+\)$" "the sample"
    said "^step [0-9]+: 1 step was not finite; back to step [0-9]+; sample 500 is left out from here$" "going back"
    same "$(grep -c 'is not finite' "$log")" 1 "times that the sample disturbs"
    back=$(printf 'step-%09d' "$(sed -n 's/.*back to step \([0-9]*\);.*/\1/p' "$log")")
    grep -q '"left_out": \[500\]' "$work/bad/$back/manifest.json" || die "no list in $back"
    mv "$work/bad" "$work/bad-$ranks"
    same "$(curve "$work/bad-$ranks" | cksum)" "$(curve "$work/bad-1" | cksum)" "curves"
    same "$(wc -l <"$work/bad-$ranks/metrics.jsonl")" 300 "records"
    diff -r "$work/bad-$ranks/step-000000300" "$work/bad-1/step-000000300" || die "other bytes"
done
bad=$(fingerprint "$work/bad-1")
[ "$bad" != "$plain" ] || die "nothing was left out"
run 0 0 verify "$work/bad-1"
checked "a bad sample is named, its step undone, the sample left out: $bad for 1, 2 and 3 ranks"

start 2 train "${small[@]}" optim.skips_most=1 run.dir="$work/killed"
wait_for 30 grep -q "left out from here" "$log"
mapfile -t pids < <(ranks_of "$job")
kill -9 "${pids[0]}"
wait_gone 20 "$job" "${pids[@]}"
[ ! -e "$work/killed/step-000000300" ] || die "the run was over before it was killed"
run 0 3 train "${small[@]}" optim.skips_most=1 run.dir="$work/killed"
same "$(fingerprint "$work/killed")" "$bad" "after a kill and a resume"
rm -rf "$work"/killed/step-000000[123]* # the sample is known, not found once more
DYE_DRILL= run 0 1 train "${small[@]}" run.dir="$work/killed"
said "resumed from .*step-0000000[0-9]0" "resume"
same "$(fingerprint "$work/killed")" "$bad" "after a resume that knows the sample from its checkpoint"
checked "killed after going back, resumed on others: the same"

# In every batch: the third bad step in a row goes back to the start, and no more than allowed.
run 0 0 pack swiss-roll -o "$work/few" --items 64
DYE_DRILL="nan=5"
few=("${small[@]}" data.path="$work/few" train.steps=40 optim.skips_most=3)
run 0 2 train "${few[@]}" run.dir="$work/few-run"
said "^step 3: 3 steps in a row were not finite; back to step 0; sample 5 is left out" "three in a row"
run 77 0 train "${few[@]}" run.dir="$work/none-run" optim.left_out_most=0
said "sample 5 is to blame.* 1 samples would be left out, at most 0 may be" "the limit"
checked "a sample in every batch: left out after three bad steps, but not beyond optim.left_out_most"

# ---- a glitch, a run without hope ----
DYE_DRILL="nan-step=33"
run 0 2 train "${small[@]}" run.dir="$work/glitch"
said "step 33: .* final_layer.linear.bias, but each grain's is when it is made again" "a glitch"
! grep -q "back to step" "$log" || die "a glitch takes the run back"
grep -q '"step": 300,.*"skipped": 1, "left_out": 0' "$work/glitch/metrics.jsonl" || die "not counted"
checked "a glitch costs one step"

unset DYE_DRILL
hopeless=("${small[@]}" optim.lr=10 optim.decay=10 optim.clip=0 optim.warmup=0 optim.skips_most=3)
run 77 2 train "${hopeless[@]}" run.dir="$work/hopeless"
said "back to step 0; no sample is left out" "no first attempt"
said "NUMERIC: 3 steps in a row .* has not helped; lower optim.lr or optim.clip" "the reason"
checked "a run without hope goes back once, then stops with its reason and code 77"

# ---- a rank that holds other weights ----
export DYE_DRILL="flip=2@45"
run 0 3 train "${small[@]}" run.dir="$work/flip"
said "^step 45: rank 2 on $host holds other weights than 2 other ranks in x_embedder[a-z.]+: suspect the memory of $host; back to step 40$" "the rank"
same "$(fingerprint "$work/flip")" "$plain" "after going back"
DYE_DRILL="flips=1@60" # a save is due: nothing of it may reach the disk
run 1 2 train "${small[@]}" run.dir="$work/flips"
said "FAILED: step 60: rank 1 on $host holds other weights than 1 other rank in .*; for the second time" "twice"
same "$(newest "$work/flips")" step-000000040 "the last checkpoint"
run 0 0 verify "$work/flips"
DYE_DRILL= run 0 2 train "${small[@]}" run.dir="$work/flips"
same "$(fingerprint "$work/flips")" "$plain" "after the host was mended"
checked "a flipped bit: rank, host and tensor named, back to the last checkpoint, $plain"

# Back to the very start: what a law of the time had learned is forgotten too.
law=("${small[@]}" process.steps=4 process.loss=vlb process.variance=learned-range
    process.times=second-moment train.steps=60 checkpoint.every=1000)
DYE_DRILL= run 0 0 train "${law[@]}" run.dir="$work/law"
DYE_DRILL="flip=2@45" run 0 3 train "${law[@]}" run.dir="$work/law-flip"
said "back to step 0$" "to the start"
same "$(fingerprint "$work/law-flip")" "$(fingerprint "$work/law")" "after going back to the start"
checked "a law of the time starts anew when a run does"
