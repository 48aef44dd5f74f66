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

# Pictures have many parts, so that shares of them are equal within a part.
make_pictures
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
