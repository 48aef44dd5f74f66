#!/usr/bin/env bash
# dye plan: it tells what the trainer takes, to the digit, and what ZeRO-1 leaves of it for many GPUs.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "no python3"

make_points

# rows: "PURPOSE MB" of what a rank that trains on the processor would take, as dye plan prints it.
rows() {
    sed -n '/^purpose /,/^planned /p' "$log" | sed -e '1d' -e '$d' |
        sed -E 's/ +([0-9.]+)$/ \1/'
}

for ranks in 0 2 3; do
    run 0 $ranks train "${small[@]}" train.steps=1 run.dir="$work/run-$ranks"
    grep '^memory of a rank: ' "$log" | sed -e 's/^memory of a rank: //' -e 's/ = .*//' |
        sed 's/ + /\n/g' | grep -v '^read-ahead ' >"$work/trained"
    run 0 0 plan "${small[@]}" --backend cpu --gpus $((ranks > 0 ? ranks : 1)) --rank 0
    rows >"$work/planned"
    [ "$(wc -l <"$work/planned")" -ge 10 ] || die "the plan has few rows"
    diff "$work/trained" "$work/planned" >"$work/difference" ||
        die "$ranks ranks took other amounts than planned: $(tr '\n' ' ' <"$work/difference")"
done
checked "plan: what dye train takes on 1, 2 and 3 ranks, by purpose"

make_pictures
cut=("$root/configs/fashion-mnist.yaml" data.path="$work/pictures" model.patch=7 model.width=40 train.batch=8
    train.grains=4 eval.every=0 sample.every=0 device.threads=1)
for blocks in 0 1 5; do
    run 0 0 train "${cut[@]}" train.steps=1 run.dir="$work/blocks-$blocks" device.recompute=$blocks
    sed -n 's/^memory of a rank: .*\(activations [0-9.]*\).*/\1/p' "$log" >"$work/trained-$blocks"
    run 0 0 plan "${cut[@]}" --backend cpu --gpus 1 device.recompute=$blocks
    rows | grep ^activations >"$work/planned"
    cmp "$work/trained-$blocks" "$work/planned" || die "with $blocks blocks recomputed"
done
cmp "$work/trained-0" "$work/trained-1" || die "one block computed again takes no less"
[ "$(cut -d' ' -f2 "$work/trained-5" | tr -d .)" -lt "$(cut -d' ' -f2 "$work/trained-0" | tr -d .)" ] ||
    die "five blocks take $(cat "$work/trained-5"), none $(cat "$work/trained-0")"
checked "plan: activations that are computed again"

# Pictures have many parts, so that shares of them are equal within a part.
picture=("$root/configs/fashion-mnist.yaml" data.path="$work/pictures" train.batch=64 train.grains=8
    model.precision=bf16)
for gpus in 1 4; do
    run 0 0 plan "${picture[@]}" --gpus $gpus --json
    cp "$log" "$work/plan-$gpus.json"
done
python3 - "$work/plan-1.json" "$work/plan-4.json" <<'END' >"$log" 2>&1 || die "the plan for 1 and 4 GPUs"
import json, sys
one, four = (json.load(open(name)) for name in sys.argv[1:])
for plan in one, four:
    assert plan["total"] == sum(plan["bytes"].values()), "the sum"
    assert plan["host_total"] == sum(plan["host_bytes"].values()), "the host's sum"
    assert plan["bytes"]["weights"] == 4 * plan["parameters"], "fp32 weights"
    assert plan["bytes"]["bf16 weights"] == 2 * plan["parameters"], "bf16 weights"
    assert plan["in_all"] == plan["total"] + plan["outside"], "what is outside"
    assert [m["bytes"] for m in plan["memory"]] == [80e9, 141e9] and plan["memory"][0]["fits"]
    assert plan["largest_grain"] == 64 / plan["gpus"], plan["largest_grain"]
assert (one["gpus"], four["gpus"]) == (1, 4)
for kind in "adam_m", "adam_v", "ema_0", "ema_1":
    part = 4 * 65536
    assert one["bytes"][kind] >= 4 * one["parameters"], kind
    assert one["bytes"][kind] / 4 - part <= four["bytes"][kind] <= one["bytes"][kind] / 4 + part, kind
assert four["bytes"]["gradients"] < one["bytes"]["gradients"], "fewer grains need fewer buffers"
assert four["bytes"]["activations"] == one["bytes"]["activations"]
END
run 0 0 plan "${picture[@]}" --gpus 4
said "^80 GB .*fits, leaving" "an 80 GB GPU"
said "^activations +[0-9.]+ *$" "activations, on the device alone"
checked "plan: ZeRO-1 and JSON"

# A grain that is told to fit does, the next larger one does not.
fit_of() { python3 -c 'import json, sys; m = json.load(open(sys.argv[1]))["memory"][0]; print(m["fits"], m["recompute"])' "$1"; }
read_json() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$@"; }
memory=$(($(read_json "$work/plan-1.json" in_all) / 1000000 + 20))M
run 0 0 plan "${picture[@]}" --gpus 1 --memory $memory --json
cp "$log" "$work/fit.json"
largest=$(read_json "$work/fit.json" largest_grain)
[ "$largest" -ge 8 ] && [ "$largest" -lt 64 ] || die "the largest grain is $largest"
for try in "$largest fits," "$((2 * largest)) does not fit"; do
    run 0 0 plan "${picture[@]}" --gpus 1 --memory $memory train.grains=$((64 / ${try%% *}))
    said "^0.[0-9]+ GB: ${try#* }" "a grain of ${try%% *}"
done
checked "plan: the largest grain is the largest"

# The number of blocks that is told lets it fit, one fewer does not, and where it fits none is told.
deep=("${picture[@]}" model.depth=12 --gpus 1 --json)
run 0 0 plan "${deep[@]}" device.recompute=8
memory=$(($(read_json "$log" in_all) / 1000000 + 1))M
run 0 0 plan "${deep[@]}" --memory $memory
cp "$log" "$work/deep.json"
same "$(fit_of "$work/deep.json")" "False 8" "blocks that let it fit"
for try in "7 False 8" "8 True 0"; do
    run 0 0 plan "${deep[@]}" --memory $memory device.recompute=${try%% *}
    cp "$log" "$work/deep.json"
    same "$(fit_of "$work/deep.json")" "${try#* }" "with ${try%% *} blocks"
done
run 0 0 plan "${picture[@]}" model.depth=12 --gpus 1 --memory $memory
said "^0.[0-9]+ GB: device.recompute=8 lets it fit: 7 of 12 blocks are computed twice" "what would help"
run 0 0 plan "${picture[@]}" model.depth=12 --gpus 1 --memory 700M
! grep -q recompute "$log" || die "no number of blocks helps"
run 0 0 plan "${small[@]}" --gpus 1 --memory 600M
! grep -q recompute "$log" || die "an MLP has no blocks"
checked "plan: the fewest blocks that are computed again"

run 2 0 plan "${picture[@]}"
said "for how many GPUs" "no --gpus"
run 2 0 plan --gpus 2
run 2 0 plan "${picture[@]}" --gpus 0
run 2 0 plan "${picture[@]}" --gpus 2 --memory much
said "such as 80G" "a memory that is no number"
run 2 0 plan "${picture[@]}" --gpus 2 --backend tpu
run 2 0 plan "${picture[@]}" --gpus 2 --rank 2
run 2 0 plan "${picture[@]}" --gpus 2 --fast
run 78 0 plan "${picture[@]}" --gpus 9
said "train.grains = 8 can feed" "more GPUs than grains"
run fail 0 plan "${picture[@]}" --gpus 2 data.path="$work/nowhere"
said "$work/nowhere" "data that are not there"
checked "plan: mistakes are told"
