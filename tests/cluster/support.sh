#!/usr/bin/env bash
# What the cluster tests share: a lab that goes away with the test, programs in its hosts, and all of
# tests/run/common.sh. Source it, then call lab_up.
# shellcheck source-path=SCRIPTDIR source=../run/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../run/common.sh"
set -Eeuo pipefail
# What no expectation foresaw still says where it was.
trap 'echo "FAIL ${BASH_SOURCE[0]##*/}:$LINENO: code $? of: $BASH_COMMAND" >&2' ERR

lab_script=$root/tests/cluster/lab.sh
export DYE_LAB_OWNER=$$
lab() { bash "$lab_script" "$@"; }
lab_folder=$(lab where)
shared=$lab_folder/shared

end_test() {
    local code=$?
    trap - ERR
    set +e
    if [ "$(cat "$lab_folder/owner" 2>/dev/null)" = $$ ]; then
        [ $code -eq 0 ] || [ $code -eq 77 ] || show_logs
        lab down
    fi
    clean_up
    exit $code
}
# The end of each log of the lab, behind the test's own words.
show_logs() {
    local file
    for file in "$lab_folder"/log/*; do
        [ ! -s "$file" ] || { echo "     ${file##*/}:" && tail -n 5 "$file"; }
    done
}
trap end_test EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# lab_up HOSTS [--slurm]: ends the test with 77 where no lab can run, or another one does. The
# program, a configuration and its data then lie in the shared folder.
lab_up() {
    local code=0
    lab up "$@" >"$log" 2>&1 || code=$?
    case $code in
    0) ;;
    69 | 77) skip "$(tail -n 1 "$log")" ;;
    *) die "lab.sh up $*" ;;
    esac
    cp "$dye" "$shared/dye"
    cp "$root/configs/swiss-roll.yaml" "$shared"
    on n1 0 ./dye pack swiss-roll -o points
    checked "up: $*"
}

# on HOST CODE CMD...: in the shared folder of a host; any exit code but CODE ends the test ("fail":
# any but 0, and not the time limit's).
on() {
    local host=$1 expected=$2 code=0
    shift 2
    # The inner limit ends the command, the outer one a host that hangs.
    timeout -k 5 $((${ON_SECONDS:-60} + 10)) bash "$lab_script" exec "$host" \
        timeout -k 5 "${ON_SECONDS:-60}" "$@" </dev/null >"$log" 2>&1 || code=$?
    if [ "$expected" = fail ]; then
        [ $code -ne 0 ] && [ $code -ne 124 ] || die "exit code $code on $host: $*"
    else
        [ $code -eq "$expected" ] || die "exit code $code instead of $expected on $host: $*"
    fi
}

# 600 steps of some seconds, the same in all tests. The folder comes last: run.dir=NAME.
# shellcheck disable=SC2034 # for the tests
train=(train swiss-roll.yaml data.path=points train.steps=600 train.batch=64 train.grains=8
    checkpoint.every=40 checkpoint.keep=3 log.every=20 eval.every=0 sample.every=0 device.threads=1)

# mpirun_on HOSTS RANKS: fills the array `launch` with mpirun's words; HOSTS is "n1 n2".
mpirun_on() {
    # shellcheck disable=SC2034,SC2046,SC2086,SC2206,SC2207 # words without blanks, for the tests
    launch=(mpirun $(lab hostfile $1) --oversubscribe --bind-to none --map-by node -n "$2")
}

# begin HOST CMD...: in the background; $job is its process on this machine.
begin() {
    local host=$1
    shift
    bash "$lab_script" exec "$host" timeout -k 5 "${ON_SECONDS:-90}" "$@" </dev/null >"$log" 2>&1 &
    job=$!
    jobs_started+=("$job")
}

# ended SECONDS: waits for $job; $code is its exit code.
ended() {
    code=0
    wait_gone "$1" "$job"
    wait "$job" 2>/dev/null || code=$?
}

# processes_on HOST NAME: ids on this machine of a host's processes of this name.
processes_on() {
    local pid
    for pid in $(lab pids "$1"); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$2" ] || echo "$pid"
    done
}
has_step() { grep -q '"step"' "$shared/$1/metrics.jsonl"; }
# kill_rank HOST: of the one rank there.
kill_rank() {
    local pid
    pid=$(processes_on "$1" dye)
    [ -n "$pid" ] || die "no rank runs on $1"
    kill -9 "$pid"
}

# stop_run DIR HOST: SIGUSR1 to the mpirun of a host, once its run $job has trained some steps: saved,
# exit code 75.
stop_run() {
    wait_for 60 has_step "$1"
    kill -USR1 "$(processes_on "$2" mpirun)" || die "the run was over before the signal"
    ended 60
    [ $code -eq 75 ] || die "exit code $code instead of 75 after SIGUSR1"
    on "$2" 0 ./dye verify "$1"
}
