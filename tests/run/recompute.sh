#!/usr/bin/env bash
# Activations that are computed again instead of kept (device.recompute): the same bits however many
# blocks do so, on 1 and 2 ranks, and after a resume with another number; what cannot have them.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

depth=4
common=(model.width=32 model.depth=$depth model.heads=2 model.dropout=0.1 train.batch=8 train.grains=4
    optim.schedule=constant checkpoint.every=2 log.every=1 log.fingerprint_every=1 eval.every=2
    sample.every=0 optim.ema_ramp=0 optim.ema_halflife=50
    optim.lr=0.01 optim.warmup=0 device.threads=1)

# same_bits NAME ARGUMENT...: all numbers of blocks on one rank, some on two; a resume from none to all.
same_bits() {
    local name=$1 blocks ranks
    shift
    set -- "$@" "${common[@]}"
    run 0 0 train "$@" train.steps=4 run.dir="$work/$name"
    curve "$work/$name" >"$work/curve"
    [ "$(wc -l <"$work/curve")" -eq 4 ] || die "$name wrote no curve"
    for blocks in 1 2 $((depth - 1)) $depth; do
        for ranks in 0 2; do
            run 0 $ranks train "$@" train.steps=4 run.dir="$work/again" device.recompute=$blocks
            curve "$work/again" | diff "$work/curve" - ||
                die "$name: $blocks blocks on $ranks ranks train otherwise than none"
            cmp "$work/$name/eval.jsonl" "$work/again/eval.jsonl" || die "$name: other held-out losses"
            rm -r "$work/again"
        done
    done
    run 0 0 train "$@" train.steps=2 run.dir="$work/resumed"
    run 0 2 train "$@" train.steps=3 run.dir="$work/resumed" device.recompute=$depth
    said "resumed from .*step-000000002" "resume"
    run 0 0 train "$@" train.steps=4 run.dir="$work/resumed" device.recompute=2
    same "$(fingerprint "$work/resumed")" "$(fingerprint "$work/$name")" "$name, resumed with $depth, then 2"
    rm -r "$work/resumed"
    checked "$name: $(fingerprint "$work/$name") with 0, 1, 2, $((depth - 1)), $depth blocks, and resumed"
}

make_pictures
pictures=("$root/configs/fashion-mnist.yaml" data.path="$work/pictures" model.patch=7)
tr -dc 'a-z ' <"$root/LICENSE" >"$work/letters.txt"
run 0 0 pack "$work/letters.txt" --form letters27 -o "$work/text"
letters=("$root/configs/kjv.yaml" data.path="$work/text" data.length=32)

same_bits pictures-fp32 "${pictures[@]}"
! grep -q avx512f /proc/cpuinfo || same_bits letters-bf16 "${letters[@]}" model.precision=bf16
if [ -e "${DYE_BACKENDS:-$(dirname "$dye")}/libdye_cuda.so" ]; then
    same_bits gpu "${letters[@]}" model.precision=bf16 device.backend=cuda device.share_gpu=true
fi

run 0 0 sample "$work/pictures-fp32" -n 2 sampler.steps=4 -o "$work/plain.png"
run 0 0 sample "$work/pictures-fp32" -n 2 sampler.steps=4 -o "$work/again.png" device.recompute=$depth
cmp "$work/plain.png" "$work/again.png" || die "samples differ"
run 78 0 train "${pictures[@]}" "${common[@]}" run.dir="$work/none" device.recompute=5
said "device.recompute is 5; there are model.depth = 4 blocks" "more than there are"
make_points
run 78 0 train "${small[@]}" run.dir="$work/none" device.recompute=1
said "device.recompute is 1, but it is for blocks of dit and fsq" "an MLP"
checked "drawing does not look at it; too many, and none at all, are refused"
