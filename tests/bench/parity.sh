#!/usr/bin/env bash
# Loss and gradients of both shipped models, made small, against PyTorch in float64; then the same
# with one gradient altered, which must be noticed. Skipped where no Python has torch: the one that
# DYE_PEER_PYTHON names, that of tests/bench/peer.sh, python3. DYE_DUMP names dump_step.
source "$(dirname "${BASH_SOURCE[0]}")/../run/common.sh"

dump=${DYE_DUMP:-$(dirname "$dye")/tests/dump_step}
[ -x "$dump" ] || die "$dump is not there: build it or set DYE_DUMP"
for python in "${DYE_PEER_PYTHON:-}" "${DYE_PEER_VENV:-$root/build/peer}/bin/python" python3 ""; do
    [ -z "$python" ] || ! "$python" -c 'import numpy, torch' 2>/dev/null || break
done
[ -n "$python" ] || skip "no Python with torch: tests/bench/peer.sh makes one"

# step NAME CONFIG key=value...
dumps=()
step() {
    local name=$1 config=$2 out=$work/$1.safetensors
    shift 2
    dumps+=("$out")
    "$dump" "$root/configs/$config.yaml" "$out" model.depth=2 train.batch=8 train.grains=4 \
        "$@" >"$log" 2>&1 || die "dump_step $name"
}

make_pictures
pictures=(fashion-mnist data.path="$work/pictures")
step pictures "${pictures[@]}"
step pictures-bf16 "${pictures[@]}" model.precision=bf16
step pictures-eps "${pictures[@]}" process.head=eps process.schedule=linear process.steps=400 \
    model.patch=7 model.heads=4 model.mlp_ratio=2 model.timestep_freq=div-128
step pictures-x0 "${pictures[@]}" process.head=x0 train.grains=1 train.seed=3
if [ -e /usr/lib/bible.data ]; then
    run 0 0 pack /usr/lib/bible.data -o "$work/bible"
    step text kjv data.path="$work/bible" process.label_drop=0.5
    step text-bf16 kjv data.path="$work/bible" model.precision=bf16 model.patch=1 data.length=48
else
    echo "skip text: Debian's bible-kjv-text is not installed"
fi

peer() { timeout -k 5 100 "$python" "$root/tests/bench/peer.py" "$@" >"$log" 2>&1; }
peer check "${dumps[@]}" || die "Dye and PyTorch differ"
cat "$log"
peer check --broken blocks.1.attn.qkv.weight "${dumps[@]:0:2}" && die "a wrong gradient passes"
[ "$(grep -c 'parity FAILED' "$log")" -eq 2 ] || die "a wrong gradient is not what is told"
checked "a gradient that is 5 % too large is told"

# The peer of a GPU: it counts the operations that PyTorch counts, and Dye those that it counts.
timeout 100 "$python" "$root/tests/bench/dit_gpu_peer.py" check >"$log" 2>&1 || die "the peer's count of operations"
python3 "$root/tests/bench/gpu_data.py" latents "$work/latents.npz"
run 0 0 pack "$work/latents.npz" --image latents --label labels -o "$work/latents"
run 0 0 plan "$root/tests/bench/dit-gpu.yaml" data.path="$work/latents" --gpus 1 \
    model.width=64 model.depth=2 model.heads=4
counted=$(sed -n 's/^model: .* M parameters .*; \([0-9.]*\) GFLOP.*/\1/p' "$log")
timeout 100 "$python" "$root/tests/bench/dit_gpu_peer.py" model=T B=4 dev=cpu steps=2 warmup=1 >"$log" 2>&1 ||
    die "a step of the GPU's peer"
theirs=$(sed -n 's/.*"gflop_per_sample": \([0-9.]*\).*/\1/p' "$log")
awk "BEGIN { d = $counted - $theirs; exit !(d * d < 0.006 * 0.006) }" ||
    die "GFLOP a sample: Dye counts $counted, the peer $theirs"
checked "the GPU's peer makes a step of the same $counted GFLOP a sample"
