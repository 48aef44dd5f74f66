#!/usr/bin/env bash
# dye bench as a program: alone and on two ranks, every family of models, and stopped half-way.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
bench=("$root/configs/swiss-roll.yaml" data.path="$work/points" run.dir="$work/run"
    train.batch=64 train.grains=8)
for ranks in 0 2; do
    run 0 $ranks bench "${bench[@]}" --seconds 1 --json "$work/bench-$ranks.json"
    for phase in memory startup step products loader reduce checkpoint; do
        said "^$phase: " "the phase $phase on $ranks ranks"
        grep -q "\"phase\":\"$phase\"" "$work/bench-$ranks.json" || die "no record of $phase"
    done
    said "step_over_floor +[0-9]" "a step's ratio on $ranks ranks"
done
said "exchange_over_all_reduce +[0-9]" "two ranks: the exchange"
said "waits for other ranks" "two ranks: their waits within a step"
! ls -d "$work"/run* >/dev/null 2>&1 || die "a folder is left: $(ls -d "$work"/run*)"
checked "bench: every phase, alone and on two ranks; nothing is left"

run 2 0 bench "${bench[@]}" --only speed
said "speed.*choose among: memory, startup, step" "a phase that is not there"
run fail 2 bench "${bench[@]}" --json "$work/none/bench.json"
said "none/bench.json" "a file that cannot be written"
! ls -d "$work"/run* >/dev/null 2>&1 || die "a folder is left after a failure"
checked "bench: mistakes are told"

for ranks in 0 2; do
    for phase in products checkpoint; do
        start $ranks bench "${bench[@]}" --only $phase --seconds 60
        wait_for 20 grep -q "^$phase" "$log"
        # mpirun hands SIGINT on as its own end, within two seconds.
        kill -INT "$job"
        if [ $ranks -eq 0 ]; then
            finish 75
            said "stopped in the phase $phase" "an interrupted bench"
        else
            wait_gone 20 "$job"
        fi
        ! ls -d "$work"/run* >/dev/null 2>&1 || die "$phase on $ranks ranks leaves a folder"
    done
done
checked "bench: an interruption leaves nothing behind"

printf 'in the beginning was the word and the word was with us all %.0s' {1..200} >"$work/words.txt"
run 0 0 pack "$work/words.txt" -o "$work/words"
run 0 0 bench "$root/configs/kjv.yaml" data.path="$work/words" run.dir="$work/run" --seconds 1 \
    data.length=32 model.depth=1 model.width=64 model.heads=2 --only step,products
said "attention_grad" "attention of a text model"
make_pictures
# No gradient is made of the patches and of the time's features.
needless=$((8 * 2 * 64 * (16 * 49 + 256)))
pictures=("$root/configs/fashion-mnist.yaml" data.path="$work/pictures" run.dir="$work/run" train.batch=8
    train.grains=2 model.width=64 model.heads=2 model.patch=7)
run 0 0 bench "${pictures[@]}" --seconds 1 model.precision=bf16 --only step,products --json "$work/bench.json"
said "peak_bf16" "the peak of bf16"
python3 "$root/tests/run/bench_rows.py" "$work/bench.json" $needless >"$log" 2>&1 || die "the table of a step"
checked "bench: texts and pictures; $(cat "$log")"
