#!/usr/bin/env bash
# Event files: the points of a run that was cut off, went back and went on are those of one that never stopped, none of them
# twice. DYE_PEER_PYTHON with TensorBoard installed reads them as well (default: python3).
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=${DYE_PEER_PYTHON:-python3}
command -v "$python" >/dev/null || skip "there is no python3 to read event files with"
read_events() { "$python" "$root/tests/tools/read_events.py" "$1/tensorboard" 2>"$log"; }
make_points
small+=(train.steps=300 log.tensorboard=true eval.every=100 sample.every=150 sample.count=8 log.every=10
    optim.schedule=constant)

run 0 0 train "${small[@]}" run.dir="$work/whole" checkpoint.every=100
read_events "$work/whole" >"$work/scalars" || die "the event files of a whole run"
same "$(grep -c '^train/loss ' "$work/scalars")" 30 "points of the loss"
same "$(grep -c '^held_out/loss ' "$work/scalars")" 3 "points of the held-out loss"
same "$(grep -c '^held_out_by_noise/' "$work/scalars")" 30 "points by noise"
# As metrics.jsonl has them, to the digits of a float.
sed -n 's/^{"step": \([0-9]*\),.*"loss": \([^,]*\),.*/\1 \2/p' "$work/whole/metrics.jsonl" >"$work/losses"
sed -n 's/^train\/loss //p' "$work/scalars" | sort -n | awk '
    NR == FNR { value[$1] = $2; next }
    { d = $2 - value[$1]; if (d < 0) d = -d; if (!($1 in value) || d > 1e-6 * value[$1]) exit 1; ++n }
    END { exit n != 30 }' - "$work/losses" || die "points that are not those of metrics.jsonl"
checked "curves of a whole run: $(cat "$log")"

# To 250, of which 200 are saved: 201 to 250 come twice.
run 0 0 train "${small[@]}" run.dir="$work/killed" train.steps=250 checkpoint.every=100
rm -r "$work/killed/step-000000250"
printf 'torn' >>"$(ls "$work"/killed/tensorboard/*)"
run 0 2 train "${small[@]}" run.dir="$work/killed" checkpoint.every=100
said "resumed from" "it goes on"
same "$(ls "$work/killed/tensorboard" | wc -l)" 2 "event files"
read_events "$work/killed" >"$work/scalars-killed" || die "the event files of a run that went back"
diff <(grep -v '^speed/\|^train/lr' "$work/scalars") <(grep -v '^speed/\|^train/lr' "$work/scalars-killed") >"$log" ||
    die "a run that went back has other points"
run 0 0 train "${small[@]}" run.dir="$work/plain" log.tensorboard=false train.steps=20
[ ! -e "$work/plain/tensorboard" ] || die "event files that nobody wanted"
checked "curves of a run that went back: no point twice, none missing"
