#!/usr/bin/env bash
# dye launch on several hosts: mpirun over a host file; SLURM jobs whose ranks srun or mpirun starts;
# a signal saves and puts the job back into the queue, and it goes on with another number of hosts.
# Always the fingerprint of one undisturbed process.
# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

lab_up 3 --slurm
keys=("${train[@]:1}")
on n1 0 ./dye "${train[@]}" run.dir=one
expected=$(fingerprint "$shared/one")

# submit ARGUMENT...: $id is the job's number.
submit() {
    on ctl 0 ./dye launch slurm "${keys[@]}" "$@"
    id=$(sed -n 's/^Submitted batch job //p' "$log")
    [ -n "$id" ] || die "no job was submitted"
}
state() { lab exec ctl timeout 5 squeue -h -t all -j "$id" -o %T; }
is_state() { [ "$(state)" = "$1" ]; }
is_over() { [[ $(state) =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL)$ ]]; }
# ends_as STATE RUN: waits for the job's end and looks at its output.
ends_as() {
    wait_for 60 is_over
    cat "$shared/$2-$id.log" >"$log"
    same "$(state)" "$1" "end of job $id ($2)"
}

submit run.dir=by-srun --nodes 2
ends_as COMPLETED by-srun
said "2 ranks on 2 hosts" "where the ranks are"
same "$(fingerprint "$shared/by-srun")" "$expected" "by srun"
submit run.dir=by-mpirun --nodes 3 --mpi mpirun --interface 10.77.0.0/24
ends_as COMPLETED by-mpirun
said "3 ranks on 3 hosts" "where the ranks are"
same "$(fingerprint "$shared/by-mpirun")" "$expected" "by mpirun"
checked "jobs with srun on 2 hosts and mpirun on 3: $expected"

# SLURM lets a job that was queued again wait for two minutes, so that all of its first start is gone
# from the hosts; the test looks for that itself.
no_steps() { ! pgrep -x slurmstepd; }
for mpi in pmix mpirun; do
    run_dir=signal-$mpi
    submit run.dir="$run_dir" checkpoint.every=1000000 --nodes 2 --mpi $mpi --interface 10.77.0.0/24
    wait_for 30 grep -q '"step"' "$shared/$run_dir/metrics.jsonl"
    on ctl 0 scancel --signal=USR1 --batch "$id"
    wait_for 30 is_state PENDING
    wait_for 30 no_steps
    sleep 3 # the first start's credentials are revoked to the second
    same "$(checkpoints "$shared/$run_dir" | wc -l)" 1 "checkpoints after the signal"
    on ctl 0 scontrol update JobId="$id" NumNodes=3-3 StartTime=now
    ends_as COMPLETED "$run_dir"
    said "exit code 75 after .*step-[0-9]*: back into the queue" "queued again"
    said "3 ranks on 3 hosts" "another number of hosts"
    said "resumed from .*step-" "resumed"
    same "$(fingerprint "$shared/$run_dir")" "$expected" "after a requeue"
    checked "$mpi: a signal saves and requeues, 2 hosts become 3: the same end"
done

submit run.dir=wrong data.path=nowhere --nodes 2
ends_as FAILED wrong
said "another start would not help" "a wrong start"
checked "a job that cannot succeed is not queued again"
