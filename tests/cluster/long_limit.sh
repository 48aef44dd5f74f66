#!/usr/bin/env bash
# The time limit of a real job: SLURM signals before it, all ranks save and stop, the job goes back into
# the queue and on with another number of hosts, to the fingerprint of one process alone.
# shellcheck source-path=SCRIPTDIR source=support_jobs.sh
source "$(dirname "${BASH_SOURCE[0]}")/support_jobs.sh"
export ON_SECONDS=600

lab_up 3 --slurm
use_fashion train.steps=2000 checkpoint.every=1000000
on n1 0 ./dye train "${keys[@]}" device.threads=2 run.dir=one
expected=$(fingerprint "$shared/one")
checked "one process: $expected"

# SLURM counts in minutes, and may signal up to one earlier than it was asked to.
submit run.dir=limit --nodes 2 --time 00:02:00 --save-seconds 50
wait_for 60 has_step limit
queued_again 130
same "$(checkpoints "$shared/limit" | wc -l)" 1 "checkpoints after the limit"
step=$(newest "$shared/limit")
on ctl 0 scontrol update JobId="$id" TimeLimit=20
start_on 3
ends_as COMPLETED limit 600
said "exit code 75 after .*$step: back into the queue" "queued again"
said "resumed from .*$step" "resumed"
same "$(fingerprint "$shared/limit")" "$expected" "after the limit"
checked "saved at $(step_number "$step") before the limit of two minutes, and on with 3 hosts: the same"
