#!/usr/bin/env bash
# A signal to mpirun or to one rank: all ranks save and stop at the same step with exit code 75, and
# the same command goes on to the end of the undisturbed run. signals.sh [--long]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
# Only the last step's checkpoint would be written: any other is the signal's.
small+=(train.steps=1500 checkpoint.every=1000000)
run 0 2 train "${small[@]}" run.dir="$work/whole"
expected=$(fingerprint "$work/whole")
checked "undisturbed: $expected"

# stop_by SIGNAL WHOM RANKS: WHOM is mpirun, rank0, rank-last or alone (no mpirun).
stop_by() {
    local signal=$1 whom=$2 ranks=$3 dir=$work/$1-$2 pids target step
    start "$ranks" train "${small[@]}" run.dir="$dir"
    wait_for 60 grep -q '"step"' "$dir/metrics.jsonl"
    mapfile -t pids < <(ranks_of "$job" | sort -n)
    case $whom in
    mpirun | alone) target=$job ;;
    rank0) target=${pids[0]} ;;
    rank-last) target=${pids[-1]} ;;
    esac
    kill -"$signal" "$target" || die "the run was over before the signal"
    finish 75
    same "$(checkpoints "$dir" | wc -l)" 1 "$signal to $whom: number of checkpoints"
    step=$(newest "$dir")
    [ "$(step_number "$step")" -lt 1500 ] || die "$signal to $whom came after the last step"
    said "step $(step_number "$step") " "$signal to $whom: the step is not told"
    run 0 0 verify "$dir/$step"
    run 0 $((ranks % 4 + 1)) train "${small[@]}" run.dir="$dir"
    said "resumed from .*$step" "resume"
    same "$(fingerprint "$dir")" "$expected" "after $signal to $whom"
    checked "SIG$signal to $whom of $ranks: saved at $(step_number "$step"), exit 75, same end"
}

stop_by USR1 mpirun 3
stop_by TERM rank-last 3
stop_by USR1 alone 0
stop_by INT alone 0
if [ "${1:-}" = --long ]; then
    stop_by USR1 rank-last 2
    stop_by TERM rank0 2
    stop_by TERM alone 0
fi

# end_by SIGNAL: mpirun's own end. It leaves its ranks two seconds, the first without notice: the last
# good checkpoint is named at once, a save is made if it fits, and nothing is lost either way.
end_by() {
    local signal=$1 dir=$work/$1-to-mpirun
    start 2 train "${small[@]}" run.dir="$dir"
    wait_for 60 grep -q '"step"' "$dir/metrics.jsonl"
    kill -"$signal" "$job" || die "the run was over before the signal"
    finish 1
    said "mpirun ends the job in 1 s" "SIG$signal to mpirun: nothing is said"
    [ -z "$(checkpoints "$dir")" ] || run 0 0 verify "$dir"
    run 0 3 train "${small[@]}" run.dir="$dir"
    same "$(fingerprint "$dir")" "$expected" "after mpirun's end by SIG$signal"
    checked "SIG$signal to mpirun: said so, $(checkpoints "$dir" | wc -l) good checkpoints, same end"
}

end_by TERM
end_by INT
