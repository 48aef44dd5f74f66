#!/usr/bin/env bash
# The shipped Fashion-MNIST model as a SLURM job: by srun on two hosts and by mpirun on three, and through
# a signal, the queue, and another number of hosts. Always the fingerprint of one process alone.
# shellcheck source-path=SCRIPTDIR source=support_jobs.sh
source "$(dirname "${BASH_SOURCE[0]}")/support_jobs.sh"

lab_up 3 --slurm
use_fashion train.steps=60 checkpoint.every=20
on n1 0 ./dye train "${keys[@]}" run.dir=one
expected=$(fingerprint "$shared/one")
checked "one process: $expected"
# finds_the_same RUN WHAT: and makes room for the next.
finds_the_same() {
    same "$(fingerprint "$shared/$1")" "$expected" "$2"
    rm -r "${shared:?}/$1"
}
rm -r "$shared/one"

submit run.dir=by-srun --nodes 2
ends_as COMPLETED by-srun 90
finds_the_same by-srun "by srun on 2 hosts"
submit run.dir=by-mpirun --nodes 3 --mpi mpirun --interface 10.77.0.0/24
ends_as COMPLETED by-mpirun 90
finds_the_same by-mpirun "by mpirun on 3 hosts"
checked "srun on 2 hosts, mpirun on 3: the same"

submit run.dir=signal checkpoint.every=1000000 --nodes 3
wait_for 60 has_step signal
on ctl 0 scancel --signal=USR1 --batch "$id"
queued_again
same "$(checkpoints "$shared/signal" | wc -l)" 1 "checkpoints after the signal"
start_on 2
ends_as COMPLETED signal 90
said "exit code 75 after .*step-[0-9]*: back into the queue" "queued again"
said "resumed from .*step-" "resumed"
finds_the_same signal "after a requeue"
checked "a signal, and on with 2 hosts instead of 3: the same"
