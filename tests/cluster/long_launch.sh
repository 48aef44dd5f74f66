#!/usr/bin/env bash
# dye launch on several hosts: mpirun over a host file; SLURM jobs whose ranks srun or mpirun starts;
# a signal saves and puts the job back into the queue, and it goes on with another number of hosts.
# Always the fingerprint of one undisturbed process.
# shellcheck source-path=SCRIPTDIR source=support_jobs.sh
source "$(dirname "${BASH_SOURCE[0]}")/support_jobs.sh"

lab_up 3 --slurm
keys=("${train[@]:1}")
on n1 0 ./dye "${train[@]}" run.dir=one
expected=$(fingerprint "$shared/one")

submit run.dir=by-srun --nodes 2
ends_as COMPLETED by-srun
said "2 ranks on 2 hosts" "where the ranks are"
same "$(fingerprint "$shared/by-srun")" "$expected" "by srun"
submit run.dir=by-mpirun --nodes 3 --mpi mpirun --interface 10.77.0.0/24
ends_as COMPLETED by-mpirun
said "3 ranks on 3 hosts" "where the ranks are"
same "$(fingerprint "$shared/by-mpirun")" "$expected" "by mpirun"
checked "jobs with srun on 2 hosts and mpirun on 3: $expected"

for mpi in pmix mpirun; do
    run_dir=signal-$mpi
    submit run.dir="$run_dir" checkpoint.every=1000000 --nodes 2 --mpi $mpi --interface 10.77.0.0/24
    wait_for 30 grep -q '"step"' "$shared/$run_dir/metrics.jsonl"
    on ctl 0 scancel --signal=USR1 --batch "$id"
    queued_again
    same "$(checkpoints "$shared/$run_dir" | wc -l)" 1 "checkpoints after the signal"
    start_on 3
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
