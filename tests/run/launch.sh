#!/usr/bin/env bash
# dye launch: what it would run, what it refuses before anything waits in a queue, and the life of its
# job script under stand-ins for SLURM's commands: finished, stopped by a signal or before the
# job's end and queued again, given up after three starts without progress.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
job_run=$work/job
keys=("${small[@]}" run.dir="$job_run")

# Stand-ins. srun runs its command once; sbatch and scontrol write down what they were asked for.
mkdir "$work/bin"
stand_in() { printf '#!/bin/sh\n%s\n' "$2" >"$work/bin/$1" && chmod +x "$work/bin/$1"; }
stand_in srun 'case $1 in --mpi=list) echo "MPI plugin types are... pmix_v4 pmix"; exit ;; esac
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"'
stand_in sbatch 'echo "submitted $1"'
stand_in scontrol "echo \"\$*\" >>'$work/requeued'"
stand_in sleep :
export PATH=$work/bin:$PATH
cd "$work" || exit 1

# ---- command lines ------------------------------------------------------------------------------

run 0 0 launch local "${keys[@]}" --dry-run
said "^$dye train .*swiss-roll.yaml .*run.dir=$job_run$" "one rank needs no mpirun"
run 0 0 launch local "${keys[@]}" --ranks 2 --dry-run
said "^mpirun -n 2 --bind-to none $dye train " "two ranks"
run 0 0 launch local "${keys[@]}" "run.dir=it's here" --dry-run
said "'run.dir=it'\\\\''s here'$" "quoted for a shell"
printf 'n1 slots=2\nn2 slots=2\n' >hosts
run 0 0 launch mpirun --hostfile hosts "${keys[@]}" --ranks-per-node 2 --interface 10.77.0.0/24 --dry-run
said "^mpirun --hostfile hosts --map-by ppr:2:node --bind-to none --mca btl_tcp_if_include 10.77.0.0/24 --(mca|prtemca) oob_tcp_if_include 10.77.0.0/24 $dye train" "hosts"
checked "command lines of local and mpirun"

run 0 0 launch local "${keys[@]}" --ranks 2
said "finished: 400 steps" "two ranks here"
expected=$(fingerprint "$job_run")
rm -rf "$job_run"
checked "launch local trains: $expected"

# ---- refusals -----------------------------------------------------------------------------------

run 2 0 launch
run 2 0 launch moon "${keys[@]}"
said "no launch 'moon'" "unknown kind"
run 2 0 launch slurm "${keys[@]}" --dry-run
said "how many nodes" "nodes"
run 2 0 launch mpirun "${keys[@]}"
said "which hosts" "hosts"
run 66 0 launch mpirun --hostfile nowhere "${keys[@]}"
run 78 0 launch slurm "${keys[@]}" --nodes 9 --dry-run
said "9 ranks cannot share train.grains = 8: take at most 8" "too many ranks"
run 78 0 launch slurm "${keys[@]}" optim.lrr=1 --nodes 2 --dry-run
said "nearest: 'optim.lr'" "a wrong key"
run 2 0 launch local "${keys[@]}" --nodes 2 --dry-run
said "--nodes means nothing to dye launch local; it is for: slurm" "an option of another launch"
checked "refused: no kind, no nodes, no hosts, too many ranks, a wrong key, another launch's option"

# ---- the job script -----------------------------------------------------------------------------

run 0 0 launch slurm "${keys[@]}" --nodes 2 --ranks-per-node 3 --cpus-per-rank 4 --gpus-per-node 3 \
    --time 2:00:00 --partition gpu --account a1 --modules "openmpi cuda" --setup ./env.sh --dry-run
for line in --nodes=2 --ntasks-per-node=3 --cpus-per-task=4 --gpus-per-node=3 --time=2:00:00 \
    --partition=gpu --account=a1 --signal=B:USR1@120 --requeue --open-mode=append; do
    said "^#SBATCH $line$" "$line"
done
said "^module load openmpi cuda$" "modules"
said "^source ./env.sh$" "setup"
said "^srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task=4 $dye train .* &$" "srun"
! grep -Eq '@[a-z]+@|--qos|--mem|cp -ru' "$log" || die "blanks without a value are left"
bash -n "$log" || die "the script is no shell script"
run 0 0 launch slurm "${keys[@]}" --nodes 2 --mpi mpirun --local "$work/disk" --dry-run
said "^mpirun --map-by ppr:1:node --bind-to none $dye train .* data.path=$work/disk/points &$" "mpirun in the job"
said "^srun .*cp -ru .* $work/points $work/disk " "data on the nodes' disks"
checked "job scripts"

# script CODE: runs the submitted script as SLURM would; any other exit code ends the test.
script() {
    local code=0
    SLURM_JOB_ID=17 SLURM_JOB_NUM_NODES=1 timeout 60 bash job.sbatch >"$log" 2>&1 || code=$?
    [ $code -eq "$1" ] || die "the script ended with $code instead of $1"
}
# queued N: the job has gone back into the queue N times so far.
queued() { same "$(grep -c '^requeue 17$' requeued 2>/dev/null || :)" "$1" "times queued again"; }

run 0 0 launch slurm "${keys[@]}" --nodes 1
said "submitted job.sbatch" "submitted"
script 0
said "^finished$" "finished"
same "$(fingerprint "$job_run")" "$expected" "trained by the job"
[ ! -e requeued ] || die "a finished job was queued again"
checked "a job that finishes is not queued again"

# A signal to the script, as SLURM sends it before the limit: saved, queued again, then finished.
rm -rf "$job_run"
long=("${small[@]}" run.dir="$job_run" train.steps=2000 checkpoint.every=1000000)
run 0 0 train "${small[@]}" run.dir="$work/whole" train.steps=2000 checkpoint.every=1000000
run 0 0 launch slurm "${long[@]}" --nodes 1
SLURM_JOB_ID=17 SLURM_JOB_NUM_NODES=1 bash job.sbatch >"$log" 2>&1 &
job=$!
jobs_started+=("$job")
wait_for 60 grep -q '"step"' "$job_run/metrics.jsonl"
kill -USR1 "$job"
finish 75
said "exit code 75 after .*step-[0-9]+: back into the queue" "the script tells"
queued 1
script 0
same "$(fingerprint "$job_run")" "$(fingerprint "$work/whole")" "over two starts of the job"
checked "a signal before the limit: saved, queued again, the same end"

# The script finds out when its job ends: without any signal saved in time, and queued again.
stand_in squeue 'date +%Y-%m-%dT%H:%M:%S -d "6 seconds"'
rm -rf "$job_run" requeued
DYE_DRILL="slow=0@data:20" script 75
said "stopped at step [0-9]+ of 2000, saved" "the stop"
queued 1
rm "$work/bin/squeue"
script 0
same "$(fingerprint "$job_run")" "$(fingerprint "$work/whole")" "after the end that was known"
checked "the end of the job: saved in time, queued again, the same end"

# A crash that no start gets past: three starts without a new checkpoint, then it gives up.
stand_in srun 'case $1 in --mpi=list) echo pmix ;; *) exit 137 ;; esac'
rm -rf "$job_run" requeued
script 137
script 137
queued 2
script 137
said "no new checkpoint in 3 starts: giving up" "gives up"
queued 2
# A wrong configuration is not tried again at all.
stand_in srun 'case $1 in --mpi=list) echo pmix ;; *) exit 78 ;; esac'
script 78
said "another start would not help" "a wrong configuration"
queued 2
checked "three starts without progress end it; a wrong configuration at once"
