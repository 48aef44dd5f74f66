#!/usr/bin/env bash
# The end of a job that is known beforehand: all ranks save and stop in time, exit code 75, and the
# same command goes on to the undisturbed fingerprint.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
small+=(checkpoint.every=1000000)
run 0 2 train "${small[@]}" run.dir="$work/whole"
expected=$(fingerprint "$work/whole")
checked "undisturbed: $expected"

# stopped_by VARIABLE SECONDS: a run that would not end by itself before then.
stopped_by() {
    local dir=$work/$1 end step
    end=$(($(date +%s) + $2))
    DYE_DRILL="slow=0@compute:50" run 75 2 train "${small[@]}" run.dir="$dir"
    [ "$(date +%s)" -lt $end ] || die "saved after the end"
    step=$(newest "$dir")
    said "stopped at step $(step_number "$step") of 400, saved" "the stop"
    run 0 0 verify "$dir/$step"
    env -u DYE_END_TIME -u SLURM_JOB_END_TIME "$dye" train "${small[@]}" run.dir="$dir" >"$log" 2>&1 ||
        die "the resume"
    said "resumed from .*$step" "resume"
    same "$(fingerprint "$dir")" "$expected" "after the end by $1"
    checked "$1 in $2 s: saved at $(step_number "$step"), exit 75, same end"
}

export SLURM_JOB_END_TIME
SLURM_JOB_END_TIME=$(($(date +%s) + 8))
stopped_by SLURM_JOB_END_TIME 8
# The one that the job script found out goes first.
SLURM_JOB_END_TIME=$(($(date +%s) + 3600))
export DYE_END_TIME
DYE_END_TIME=$(($(date +%s) + 6))
stopped_by DYE_END_TIME 6

DYE_END_TIME=$(($(date +%s) + 3600))
run 0 2 train "${small[@]}" run.dir="$work/later"
DYE_END_TIME=$(($(date +%s) - 5)) # another job's, inherited
run 0 2 train "${small[@]}" run.dir="$work/past"
same "$(fingerprint "$work/past")" "$expected" "an end that is over"
checked "an end far away, or over, stops nothing"
