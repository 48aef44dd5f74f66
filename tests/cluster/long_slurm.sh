#!/usr/bin/env bash
# SLURM: sbatch with srun and with mpirun inside, on two and three hosts; a job stopped by
# scancel --signal=USR1 and submitted again for another number of hosts. Always one fingerprint.
# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

lab_up 3 --slurm
on n1 0 ./dye "${train[@]}" run.dir=one
expected=$(fingerprint "$shared/one")
checked "one host without SLURM: $expected"

cat >"$shared/srun.sh" <<'EOF'
#!/bin/bash
exec srun --mpi=pmix --kill-on-bad-exit=1 ./dye "$@"
EOF
cat >"$shared/mpirun.sh" <<'EOF'
#!/bin/bash
exec mpirun --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
    --oversubscribe --bind-to none ./dye "$@"
EOF
chmod +x "$shared"/{srun,mpirun}.sh

# submit SCRIPT HOSTS RANKS DIR: sets `id`; the job's output is DIR.out.
submit() {
    on ctl 0 sbatch --parsable -N "$2" -n "$3" --open-mode=append -o "$4.out" "$1.sh" \
        "${train[@]}" run.dir="$4"
    id=$(tail -n 1 "$log")
}
job_field() { lab exec ctl timeout 5 scontrol show job "$id" | grep -o " *$1=[^ ]*" | cut -d= -f2; }
job_over() {
    sleep 0.2 # the controller has others to serve
    case $(job_field JobState) in COMPLETED | FAILED | CANCELLED | NODE_FAIL | TIMEOUT) ;; *) return 1 ;; esac
}
# job_ends CODE DIR
job_ends() {
    wait_for 60 job_over
    cp "$shared/$2.out" "$log"
    same "$(job_field ExitCode)" "$1:0" "exit code of job $id ($2)"
}

for kind in srun mpirun; do
    for hosts in 2 3; do
        submit $kind $hosts $hosts $kind-$hosts
        job_ends 0 $kind-$hosts
        said "$hosts ranks on $hosts hosts" "where the ranks are"
        same "$(fingerprint "$shared/$kind-$hosts")" "$expected" "$kind on $hosts hosts"
        checked "sbatch with $kind inside on $hosts hosts: the same fingerprint"
    done
done

# stop_job SCRIPT HOSTS SCRIPT HOSTS
stop_job() {
    local dir=$1-$2-to-$3-$4 flags=(--signal=USR1) step
    # With mpirun inside, the steps are its daemons: the signal is for the batch shell, now mpirun.
    [ "$1" = srun ] || flags+=(--batch)
    submit "$1" "$2" "$2" "$dir"
    wait_for 60 has_step "$dir"
    on ctl 0 scancel "${flags[@]}" "$id"
    job_ends 75 "$dir"
    on n1 0 ./dye verify "$dir"
    step=$(newest "$shared/$dir")
    submit "$3" "$4" "$4" "$dir"
    job_ends 0 "$dir"
    said "resumed from .*$step" "resume"
    same "$(fingerprint "$shared/$dir")" "$expected" "after the stop"
    checked "$1 on $2 hosts: USR1, saved at $(step_number "$step"), exit 75; $3 on $4: the same end"
}
stop_job srun 3 mpirun 2
stop_job mpirun 2 srun 3
