#!/usr/bin/env bash
# The steady step of an emulated GPU: the host waits for nothing but the step before, with the next one
# queued behind it, and takes no memory; the bits are those of a host that looks at every step, also where a step is not
# finite, which the device finds for itself and the host one step later.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ -e "${DYE_BACKENDS:-none}/libdye_cuda.so" ] || skip "DYE_BACKENDS has no emulated libdye_cuda.so"
make_pictures
export DYE_EMULATED_GPUS=4

keys=("$root/configs/fashion-mnist.yaml" data.path="$work/pictures" device.backend=cuda
    device.products=heuristic eval.every=0 sample.every=0 model.width=32 model.depth=1 model.heads=2
    model.patch=7 model.precision=bf16 optim.schedule=constant optim.lr=0.01 optim.warmup=0 optim.clip=0.1 train.batch=16
    train.grains=8 checkpoint.every=0 log.every=0 log.fingerprint_every=0 train.steps=12)
train() { run 0 "$2" train "${keys[@]}" "${@:3}" run.dir="$work/$1"; } # NAME RANKS KEY...
looked_at=(log.every=1)

# ---- waits ----------------------------------------------------------------------------------------

# waits NAME RANKS KEY...: a run of which NAME.waits tells what its host waits for and takes.
waits() {
    export DYE_EMULATED_WAITS=$work/$1.waits
    train "$@"
    unset DYE_EMULATED_WAITS
}
count() { grep -c "^$2" "$work/$1.waits"; }

for ranks in 0 4; do
    waits "short-$ranks" $ranks train.steps=10
    waits "long-$ranks" $ranks train.steps=30
    for what in stream memory; do
        same "$(count "long-$ranks" $what)" "$(count "short-$ranks" $what)" "$what in 30 steps and in 10, $ranks ranks"
    done
    # Of steps 3 to 29: all that is waited for lies before a whole step's grains.
    read -r -a behind < <(awk '$1 == "event" { print $2 }' "$work/long-$ranks.waits" | sort -n | tr '\n' ' ')
    late=$(printf '%s\n' "${behind[@]}" | awk '$1 >= 50 { ++n } END { print n + 0 }')
    [ "$late" -ge 26 ] || die "$ranks ranks: only $late waits have a step's work queued behind them: ${behind[*]}"
    checked "$((ranks > 0 ? ranks : 1)) GPUs: in 30 steps as many waits for a stream and calls for memory as in 10; $late waits for the step before"
done
waits looked 0 train.steps=30 "${looked_at[@]}"
[ "$(count looked stream)" -gt $(($(count long-0 stream) + 25)) ] || die "waits are not counted"
[ "$(count looked memory)" -gt 10 ] || die "memory is not counted"

# ---- bits -----------------------------------------------------------------------------------------

# What is said of numbers that are not finite, but for who says it and what was saved.
complaints() { sed -n '/not finite/{s/ (rank [^)]*)//;s/back to step [0-9]*//;s/^\[rank [^]]*\] //;p}' "$log"; }

# everywhere NAME RANKS KEY...: one fingerprint, however often one rank looks at its steps, or these do.
everywhere() {
    local name=$1 ranks=$2 way
    shift 2
    train "$name" 0 "$@" "${looked_at[@]}"
    complaints >"$work/said"
    for way in 0 "$ranks"; do
        train ways "$way" "$@"
        same "$(fingerprint "$work/ways")" "$(fingerprint "$work/$name")" "$name: $way"
        complaints | diff "$work/said" - || die "$name: $way: says otherwise"
        rm -r "$work/ways"
    done
    checked "$name: $(fingerprint "$work/$name") looked at or ahead, on 1 and $ranks ranks"
}

everywhere plain 3 checkpoint.every=4
export DYE_DRILL=nan-step=6
everywhere glitch 4
[ "$(fingerprint "$work/glitch")" != "$(fingerprint "$work/plain")" ] || die "no step was left out"
grep -q "step 6: the gradient is not finite" "$work/said" || die "nothing was said"
# Named, taken back to the start, left out.
export DYE_DRILL=nan=8 # which is trained on in step 8
everywhere sample 3 optim.skips_most=1
grep -q "sample 8 is left out from here" "$work/said" || die "the sample was not found"
unset DYE_DRILL

# ---- signals --------------------------------------------------------------------------------------

start 4 train "${keys[@]}" train.steps=100000 log.plain_seconds=0 run.dir="$work/stopped"
wait_for 60 grep -Eq "step [0-9]{2,} of" "$log"
mapfile -t pids < <(ranks_of "$job")
kill -USR1 "${pids[0]}"
finish 75
said "stopped at step [0-9]+ of 100000, saved" "a signal in the midst of steps ahead"
at=$(step_number "$(newest "$work/stopped")")
train stopped 0 train.steps=$((at + 3))
train straight 0 train.steps=$((at + 3))
same "$(fingerprint "$work/stopped")" "$(fingerprint "$work/straight")" "stopped at step $at and gone on"
checked "4 ranks: stopped by a signal at step $at, gone on with by one to the same bits"
