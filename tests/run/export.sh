#!/usr/bin/env bash
# Exported weights: names, sizes and numbers are those of the checkpoint. DYE_PEER_PYTHON with NumPy and the
# safetensors package compares them (default: python3); without these the headers alone are looked at.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=${DYE_PEER_PYTHON:-python3}
compare() { # EXPORTED RUN KIND
    local code=0
    "$python" "$root/tests/tools/check_export.py" "$1" "$2/$(newest "$2")" "$3" >"$log" 2>&1 || code=$?
    case $code in
    0) checked "$(basename "$1"): $(cut -c1-60 "$log")" ;;
    77) echo "skip comparing numbers: no NumPy or safetensors in $python" ;;
    *) die "$1 is not the $3 of $2" ;;
    esac
}
header() { # FILE: its JSON
    python3 -c 'import sys; f = open(sys.argv[1], "rb"); print(f.read(int.from_bytes(f.read(8), "little")).decode())' "$1"
}

make_points
run 0 0 train "${small[@]}" run.dir="$work/run" train.steps=40
run 0 0 export "$work/run" -o "$work/ema.safetensors"
said "tensors of step 40 in" "what was written"
run 0 0 export "$work/run" -o "$work/ema_1.safetensors" --average 1
run 0 2 export "$work/run" -o "$work/raw.safetensors" --average raw
run 0 0 export "$work/run" -o "$work/half.safetensors" --bf16
compare "$work/ema.safetensors" "$work/run" ema_0
compare "$work/ema_1.safetensors" "$work/run" ema_1
compare "$work/raw.safetensors" "$work/run" weight
! cmp -s "$work/ema.safetensors" "$work/raw.safetensors" || die "an average is the weights themselves"
header "$work/ema.safetensors" >"$log"
said '"step": *"40"' "the step"
said '"average": *"0"' "which average"
said '"system": *"ddpm"' "the system"
header "$work/half.safetensors" >"$log"
said '"dtype": *"BF16"' "numbers of two bytes"
whole=$(stat -c %s "$work/ema.safetensors") half=$(stat -c %s "$work/half.safetensors")
[ $((2 * half - whole)) -lt 20000 ] || die "bf16 takes $half of $whole bytes"
run fail 0 export "$work/run" -o "$work/none" --format dit
said "is for model.family: dit on images" "an MLP as a DiT"
run fail 0 export "$work/run" -o "$work/nowhere/x.safetensors"
run 2 0 export "$work/run"
checked "averages and weights, fp32 and bf16"

make_pictures
run 0 0 train "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" run.dir="$work/clothes" train.steps=3 \
    train.batch=16 train.grains=4 eval.every=0 sample.every=0 model.width=32 model.depth=2 model.heads=2 \
    model.timestep_freq=div-128
run 0 0 export "$work/clothes" -o "$work/dit.safetensors" --format dit
! grep -q warning "$log" || die "a warning about times that are right"
header "$work/dit.safetensors" | grep -o '"pos_embed": *{[^}]*}' >"$log"
said '"shape": *\[1, *49, *32\]' "positions of 7 x 7 patches"
compare "$work/dit.safetensors" "$work/clothes" ema_0
checked "as the original DiT has them"
