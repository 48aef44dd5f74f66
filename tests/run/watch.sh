#!/usr/bin/env bash
# The watch over the ranks on one host: a rank that is stopped in each phase, one that hangs, one that
# is killed, rank 0 as the victim, a taken port, strangers at the port. Who and where is named, the run
# goes on or can go on, and comes to the undisturbed fingerprint.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
small+=(eval.every=100 eval.samples=50 control.patience=3)
run 0 2 train "${small[@]}" run.dir="$work/whole"
expected=$(fingerprint "$work/whole")
checked "undisturbed: $expected"

# launch DRILL NAME KEY...: three ranks in the background; $job, and $log is its own.
launch() {
    log=$work/$2.log
    DYE_DRILL=$1 start 3 train "${small[@]}" run.dir="$work/$2" "${@:3}"
    job_of[$2]=$job
}
declare -A job_of
# pid_of NAME RANK: as the journal in the node's memory names it.
pid_of() {
    local pid
    for pid in $(ranks_of "${job_of[$1]}"); do
        ! tr '\0' '\n' <"/proc/$pid/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$2" || echo "$pid"
    done
}
ends_well() {
    log=$work/$1.log
    job=${job_of[$1]}
    finish 0
    same "$(fingerprint "$work/$1")" "$expected" "$1: after the fault"
}

# A start that hangs does nothing: it is looked at when the rest of this test has run.
timeout -k 5 60 mpirun --oversubscribe -n 1 "$dye" train "${small[@]}" run.dir="$work/start" \
    : -n 1 sleep 18 </dev/null >"$work/start.log" 2>&1 &
half_a_job=$!

# ---- stopped, in each phase ---------------------------------------------------------------------

declare -A doing=([data]="reading data" [compute]="computing gradients" [reduce]="summing gradients"
    [update]="updating weights" [log]="writing the log" [save]="saving" [evaluate]="evaluating"
    [end]="ending")
phases=(data compute reduce update log save evaluate end)
for phase in "${phases[@]}"; do launch "stop=1@$phase:60" "in-$phase"; done
for phase in "${phases[@]}"; do
    log=$work/in-$phase.log
    wait_for 40 grep -q "is stopped since" "$log"
    said "rank 1 on .* \(pid [0-9]+\) is stopped since .*it was ${doing[$phase]} at step" "$phase"
    said "kill -CONT" "what to do"
    kill -CONT "$(pid_of "in-$phase" 1)"
done
for phase in "${phases[@]}"; do ends_well "in-$phase"; done
said "goes on after" "the end of the alarm"
checked "stopped in ${phases[*]}: named with the phase; all go on to $expected"

# Slow work is no hang: it is looked at while the rest of this test runs.
launch "spin=1@save:60" slow control.grace=3
launch "stop=0@compute:60" first
wait_for 40 grep -q "is stopped since" "$log"
said "^\[rank 1/3 .*rank 0 on .* is stopped since" "the deputy names rank 0"
"$dye" status "$work/first" >"$work/status" || die "dye status"
grep -q "ALARM: rank 0" "$work/status" || die "dye status does not tell the alarm: $(cat "$work/status")"
kill -CONT "$(pid_of first 0)"
ends_well first
checked "rank 0 stopped: its deputy names it; dye status tells so"

# ---- hangs, and does not come back --------------------------------------------------------------

for phase in data save; do launch "hang=2@$phase:60" "hang-$phase" control.grace=3; done
for phase in data save; do
    log=$work/hang-$phase.log
    job=${job_of[hang-$phase]}
    finish 79
    said "rank 2 on .* is ${doing[$phase]} at step .*2 of 3 ranks wait for it" "the rank that hangs"
    said "its main thread sleeps" "what /proc tells"
    said "error STALLED: rank 2 on" "the cause at the end"
    # shellcheck disable=SC2012 # names without blanks
    said "last good checkpoint: $work/hang-$phase/$(newest "$work/hang-$phase" || echo none)|none yet" \
        "where to go on"
    "$dye" forensics "$work/hang-$phase" >"$work/forensics" || die "dye forensics"
    grep -q "is ${doing[$phase]} at step" "$work/forensics" || die "no cause: $(cat "$work/forensics")"
    grep -A1 "^rank 2 on .*of 3 ranks" "$work/forensics" | grep -q "${doing[$phase]}" ||
        die "not what rank 2 did last: $(cat "$work/forensics")"
    run 0 2 train "${small[@]}" run.dir="$work/hang-$phase"
    same "$(fingerprint "$work/hang-$phase")" "$expected" "after a hang in $phase"
done
checked "hangs in data and save: named, ended with 79, dye forensics tells it, then the same end"

launch "" killed train.steps=100000
wait_for 40 test -n "$(newest "$work/killed" 2>/dev/null)" -o -s "$work/killed/metrics.jsonl"
kill -9 "$(pid_of killed 1)"
finish 137
said "rank 1 on .* ended without a word" "the rank that was killed"
"$dye" forensics "$work/killed" --rank 1 --events 3 >"$work/forensics" || die "dye forensics"
grep -q "the last 3 events of rank 1" "$work/forensics" || die "events: $(cat "$work/forensics")"
checked "killed: named by the others, its last events are there"

ends_well slow
said "rank 1 on .* is saving at step .*2 of 3 ranks wait for it" "slow work"
said "rank 1 on .* is still saving since .*it works, so the job goes on" "slow work that moves"
checked "slow work is named, and not ended"

log=$work/start.log
! wait "$half_a_job" || die "a job of which half is no rank ended well"
said "MPI has not started for 15 s: it waits for other ranks" "a start that hangs"
checked "a start that hangs is told"

# ---- the port -----------------------------------------------------------------------------------

# Ports that nobody has by chance: below those that the kernel gives away.
port=$((20000 + $$ % 5000 * 2))
launch "" ported control.port=$port train.steps=3000
wait_for 20 test -s "$work/ported/metrics.jsonl"
run 69 3 train "${small[@]}" run.dir="$work/taken" control.port=$port
said "port $port is taken by another program; set control.port" "the port that is taken"
# Strangers: garbage, silence, and more connections than there are descriptors.
(
    ulimit -n 4096
    for i in {1..5}; do
        exec {fd}<>"/dev/tcp/127.0.0.1/$port" && head -c 5000 /dev/urandom >&"$fd"
    done
    for i in {1..1500}; do exec {fd}<>"/dev/tcp/127.0.0.1/$port" || break; done
    sleep 1
) 2>/dev/null || true
log=$work/ported.log
finish 0
! grep -q warning "$log" || die "strangers made an alarm"
run 0 2 train "${small[@]}" run.dir="$work/alone" train.steps=3000
same "$(fingerprint "$work/ported")" "$(fingerprint "$work/alone")" "with strangers at the port"
checked "a taken port is named; garbage and 1,500 connections at the port change nothing"
