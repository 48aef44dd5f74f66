#!/usr/bin/env bash
# Whole runs on a GPU: the same bits for any number of ranks and after every resume, fp32 and bf16, pictures
# and letters; what is said where there is none. DYE_BACKENDS names the folder of libdye_cuda.so: with an
# emulated GPU all this runs on a CPU. Ranks share a GPU, and talk by the host's memory.
#
#   gpu_runs.sh [--nccl]    also by NCCL, which wants a GPU for each rank
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ -e "${DYE_BACKENDS:-$(dirname "$dye")}/libdye_cuda.so" ] || skip "libdye_cuda.so was not built here"
exchanges=(host)
[ "${1:-}" != --nccl ] || exchanges+=(nccl)

gpu=(device.backend=cuda device.share_gpu=true log.every=1 log.fingerprint_every=1 eval.every=0
    sample.every=0 model.width=32 model.depth=1 model.heads=2 optim.schedule=constant optim.lr=0.01 optim.warmup=0)

# give FOLDER NAME: a new run with the algorithms of products that another has chosen. Emulated, nobody else
# would choose the same: times depend on the seed.
give() {
    mkdir -p "$1"
    cp "$work/$2/products.txt" "$1"
    export DYE_EMULATED_TIMES=$((DYE_EMULATED_TIMES + 1))
}
export DYE_EMULATED_TIMES=1

# same_bits NAME ARGUMENT...: 1, 2 and 4 ranks, and 1 rank killed and gone on with by 3.
same_bits() {
    local name=$1 exchange ranks
    shift
    set -- "$@" "${gpu[@]}" train.batch=8 train.grains=4 checkpoint.every=2
    run 0 0 train "$@" train.steps=4 run.dir="$work/$name"
    said "cuda .*cuBLASLt" "what it runs on"
    curve "$work/$name" >"$work/curve"
    for exchange in "${exchanges[@]}"; do
        for ranks in 2 4; do
            give "$work/$name-$ranks" "$name"
            run 0 $ranks train "$@" train.steps=4 run.dir="$work/$name-$ranks" device.exchange="$exchange"
            curve "$work/$name-$ranks" | diff "$work/curve" - ||
                die "$name: $ranks ranks by $exchange train otherwise than 1 rank"
            rm -r "$work/$name-$ranks"
        done
    done
    give "$work/resumed" "$name"
    run 0 0 train "$@" train.steps=2 run.dir="$work/resumed"
    rm "$work/resumed/products.txt" # the checkpoint knows it
    DYE_EMULATED_TIMES=99 run 0 3 train "$@" train.steps=4 run.dir="$work/resumed"
    said "resumed from .*step-000000002" "resume"
    same "$(fingerprint "$work/resumed")" "$(fingerprint "$work/$name")" "$name, resumed on three ranks"
    rm -r "$work/resumed"
    checked "$name: $(fingerprint "$work/$name") on 1, 2, 4 ranks by ${exchanges[*]}, and resumed"
}

make_pictures
for precision in fp32 bf16; do
    same_bits pictures-$precision "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" \
        model.patch=7 model.precision=$precision
done
tr -dc 'a-z ' <"$root/LICENSE" >"$work/letters.txt"
run 0 0 pack "$work/letters.txt" --form letters27 -o "$work/text"
same_bits letters "$root/configs/kjv.yaml" data.path="$work/text" data.length=32

run 0 0 train "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" "${gpu[@]}" model.patch=7 \
    train.batch=8 train.grains=4 train.steps=5 run.dir="$work/pictures-fp32" device.backend=cpu
said "equal only statistically from here" "a resume on other hardware"
run 0 0 sample "$work/pictures-bf16" -n 2 sampler.steps=4 -o "$work/grid.png"
checked "on by the CPU, and samples"

# Opened anew to time operations, and once more not to.
run 0 0 bench "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" "${gpu[@]}" model.patch=7 \
    train.batch=8 train.grains=1 run.dir="$work/bench" --only step,loader --seconds 1 --json "$work/bench.json"
python3 "$root/tests/run/bench_rows.py" "$work/bench.json" $((8 * 2 * 32 * (16 * 49 + 256))) >"$log" 2>&1 ||
    die "the table of a step"
[ ! -e "$work/bench" ] || die "dye bench leaves a folder"
checked "bench: a step by operations, $(cat "$log")"
if [ "${1:-}" = --nccl ]; then
    run 0 2 bench "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" "${gpu[@]}" model.patch=7 \
        train.batch=8 train.grains=2 run.dir="$work/bench" device.exchange=nccl --only reduce --seconds 1
    said "ordered_over_nccl_sum +[0-9]" "what the order of sums costs"
    checked "bench: the ordered sum over NCCL's own"
fi

DYE_EMULATED_GPUS=0 CUDA_VISIBLE_DEVICES='' run 66 0 train "$root/configs/fashion-mnist.yaml" \
    data.path="$work/pictures" "${gpu[@]}" run.dir="$work/none"
said "there is no GPU that CUDA can use here" "no GPU"
DYE_BACKENDS=$work run 78 0 train "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" \
    "${gpu[@]}" run.dir="$work/none"
said "libdye_cuda.so is not installed" "no library"
NVIDIA_TF32_OVERRIDE=1 run 78 0 train "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" \
    "${gpu[@]}" run.dir="$work/none"
said "NVIDIA_TF32_OVERRIDE=1 in the environment changes the bits" "fewer bits behind our back"
checked "no GPU, no library, fewer bits: one clear error"
