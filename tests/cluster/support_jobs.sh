#!/usr/bin/env bash
# What the tests of jobs share, on top of support.sh: jobs made by `dye launch slurm` from `keys`, their
# states and ends, and the shipped Fashion-MNIST model in the lab.
# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# submit ARGUMENT...: $id is the job's number. `keys` begins with the configuration.
submit() {
    on ctl 0 ./dye launch slurm "${keys[@]}" "$@"
    id=$(sed -n 's/^Submitted batch job //p' "$log")
    [ -n "$id" ] || die "no job was submitted"
}
state() { lab exec ctl timeout 5 squeue -h -t all -j "$id" -o %T; }
is_state() { [ "$(state)" = "$1" ]; }
is_over() { [[ $(state) =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL)$ ]]; }
# ends_as STATE RUN [SECONDS]: waits for the job's end and looks at its output.
ends_as() {
    wait_for "${3:-60}" is_over
    cat "$shared/$2-$id.log" >"$log"
    same "$(state)" "$1" "end of job $id ($2)"
}

# queued_again [SECONDS]: waits until the job is back in the queue. SLURM lets it wait there for two
# minutes, so that all of its first start is gone from the hosts; here that is looked for.
no_steps() { ! pgrep -x slurmstepd; }
queued_again() {
    wait_for "${1:-30}" is_state PENDING
    wait_for 30 no_steps
    sleep 3 # the first start's credentials are revoked to the second
}
# start_on HOSTS: now, one rank on each.
start_on() { on ctl 0 scontrol update JobId="$id" NumNodes="$1-$1" NumTasks="$1" StartTime=now; }

# use_fashion KEY...: `keys` for the first 2000 pictures on the shipped model, its batch cut. A checkpoint
# has 45 MB, and the lab's disk room for four.
use_fashion() {
    make_pictures
    cp -r "$work/pictures" "$shared/pictures"
    cp "$root/configs/fashion-mnist.yaml" "$shared"
    # shellcheck disable=SC2034 # for the tests
    keys=(fashion-mnist.yaml data.path=pictures train.batch=16 train.grains=8 log.every=10 eval.every=0
        sample.every=0 checkpoint.keep=1 device.threads=1 "$@")
}
