#!/usr/bin/env bash
# Exported weights: names, sizes and numbers are those of the checkpoint; what is imported is what was exported.
# DYE_PEER_PYTHON (default: python3) with NumPy and the safetensors package compares numbers, and with PyTorch and
# diffusers draws the same pictures; without these the headers alone are looked at.
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
run 78 0 export "$work/run" -o "$work/none" --format dit
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
run 78 0 export "$work/clothes" -o "$work/none" --format diffusers
said "model.timestep_freq is div-128" "times that diffusers does not know"
[ ! -e "$work/none" ] || die "a folder of what cannot be"
checked "as the original DiT has them"

# With diffusers: each picture that Dye draws, step by step, guided, by the schedulers that belong to the processes.
drawn() { # RUN: is the same there
    local code=0
    run 0 0 export "$work/$1" -o "$work/$1-diffusers" --format diffusers
    run 0 2 sample "$work/$1" -n 11 --frames 9 --steps 8 --solver ddim --guidance 2 -o "$work/$1.npz" "${@:2}"
    "$python" "$root/tests/tools/check_diffusers.py" "$work/$1-diffusers" "$work/$1.npz" 2 1e-4 >"$log" 2>&1 || code=$?
    case $code in
    0) checked "$1: $(tail -n 1 "$log")" ;;
    77) echo "skip drawing with diffusers: it or PyTorch is not in $python" ;;
    *) die "diffusers draws other pictures" ;;
    esac
}
clothes() { # RUN KEY=VALUE...
    run 0 0 train "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" run.dir="$work/$1" train.steps=20 \
        train.batch=16 train.grains=4 eval.every=0 sample.every=0 model.width=32 model.depth=2 model.heads=2 \
        optim.warmup=0 optim.lr=0.01 "${@:2}"
}
clothes ddpm
drawn ddpm
clothes learned process.loss=hybrid process.variance=learned-range process.schedule=linear process.head=eps
drawn learned
clothes flow process.name=flow process.schedule=linear process.head=velocity process.variance=auto
drawn flow sampler.clip=false
header "$work/flow-diffusers/transformer/diffusion_pytorch_model.safetensors" | grep -o '"transformer_blocks[^:]*' |
    sort -u | wc -l >"$log"
said "^38$" "19 tensors a block"

# Imported, it is what was exported: to the bit, but for the rounding of a rotation.
printed() { grep -o 'fingerprint [0-9a-f]*' "$log" | tail -n 1; }
run 0 0 export "$work/ddpm" -o "$work/own.safetensors"
run 0 2 import "$work/own.safetensors" "$work/ddpm/config.yaml" run.dir="$work/again"
own=$(printed)
run 0 0 verify "$work/again"
run 0 0 export "$work/again" -o "$work/own-again.safetensors"
compare "$work/own-again.safetensors" "$work/again" weight
python3 - "$work/own.safetensors" "$work/own-again.safetensors" <<'PY' || die "other numbers"
import sys
a, b = (open(path, "rb").read() for path in sys.argv[1:])
data = lambda file: file[8 + int.from_bytes(file[:8], "little"):]
sys.exit(data(a) != data(b))
PY
run 0 0 import "$work/own.safetensors" "$work/ddpm/config.yaml" run.dir="$work/again-1"
same "$(printed)" "$own" "fingerprint on 1 and 2 ranks"
run 0 0 import "$work/ddpm-diffusers" "$work/ddpm/config.yaml" run.dir="$work/back"
said "\(diffusers\)" "the layout"
run 0 0 export "$work/back" -o "$work/back-diffusers" --format diffusers
python3 - "$work"/{ddpm,back}-diffusers <<'PY' || die "diffusers' weights do not come back"
import struct, sys
def numbers(folder):
    file = open(f"{folder}/transformer/diffusion_pytorch_model.safetensors", "rb").read()
    data = file[8 + int.from_bytes(file[:8], "little"):]
    return struct.unpack(f"<{len(data) // 4}f", data)
a, b = map(numbers, sys.argv[1:])
assert len(a) == len(b) and max(abs(x - y) for x, y in zip(a, b)) < 1e-7
PY
run 0 0 import "$work/dit.safetensors" "$work/clothes/config.yaml" run.dir="$work/from-dit"
said "\(dit\)" "the layout of the original"
run 0 0 train "$work/ddpm/config.yaml" run.dir="$work/again" train.steps=3
said "resumed from .*again/step-000000000" "the start"
said "finished: 3 steps" "training of what was imported"
checked "imported weights: to the bit, from all three layouts, and trained on"

run 2 0 import "$work/own.safetensors" "$work/ddpm/config.yaml" run.dir="$work/again"
said "holds checkpoints already" "a run that is there"
run 65 0 import "$work/own.safetensors" "$work/ddpm/config.yaml" run.dir="$work/none" model.depth=3
said "has no blocks.2" "another depth"
run 65 0 import "$work/own.safetensors" "$work/ddpm/config.yaml" run.dir="$work/none" model.width=64
said "x_embedder.proj.weight is \[32, 1, 4, 4\], and this configuration makes it \[64, 1, 4, 4\]" "another width"
run 65 0 import "$work/own.safetensors" "$work/ddpm/config.yaml" run.dir="$work/none" model.depth=1
said "holds blocks.1" "a shallower network"
run 78 0 import "$work/dit.safetensors" "$work/ddpm/config.yaml" run.dir="$work/none"
said "the original DiT tells times as model.timestep_freq: div-128" "other times"
run 2 0 import "$work/x.pt" "$work/ddpm/config.yaml" run.dir="$work/none"
said "is a pickle" "a pickle"
run 66 0 import "$work/idx" "$work/ddpm/config.yaml" run.dir="$work/none"
said "neither transformer/diffusion_pytorch_model.safetensors nor" "a folder of something else"
head -c 3000 "$work/own.safetensors" >"$work/short.safetensors"
run 65 0 import "$work/short.safetensors" "$work/ddpm/config.yaml" run.dir="$work/none"
copy=$work/back-diffusers/transformer/diffusion_pytorch_model.safetensors
flip "$copy" $(($(stat -c %s "$copy") - 4 * 18912 - 1000)) # before the 18,912 weights of the last block: its classes
run 65 0 import "$work/back-diffusers" "$work/ddpm/config.yaml" run.dir="$work/none"
said "class_embedder.* is another one than that of block 0" "a block that was trained apart"
[ ! -e "$work/none" ] || die "a run folder of what was refused"
checked "what cannot be imported is refused by name"
