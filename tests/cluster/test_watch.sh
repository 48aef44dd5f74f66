#!/usr/bin/env bash
# The watch over ranks on several hosts: a rank stopped or killed on another host, a host frozen, cut
# off or dead, the host of rank 0 cut off under SLURM. Host and rank are named in under 30 s; the job
# goes on, or ends with 79 and goes on elsewhere; always to the undisturbed fingerprint.
# test_watch.sh [--long]: without it a rank stopped, a host cut off, and that of rank 0.
# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

lab_up 3 --slurm
train+=(control.patience=4)
on n1 0 ./dye "${train[@]}" run.dir=one
expected=$(fingerprint "$shared/one")
checked "undisturbed: $expected"

# Whether rank 0 has heard all: a rank that it never heard is not judged.
is_watched() {
    grep -q '"phase"' "$shared/$1/status.json" && ! grep -q "not heard yet" "$shared/$1/status.json"
} 2>/dev/null

# train_on HOSTS DIR KEY...: three ranks in the background, until they train and are watched.
train_on() {
    mpirun_on "$1" 3
    begin "${1%% *}" "${launch[@]}" ./dye "${train[@]}" run.dir="$2" "${@:3}"
    wait_for 60 has_step "$2"
    wait_for 20 is_watched "$2"
    is_running "$job" || die "the run was over before the fault"
    began=$SECONDS
}
# named EXPRESSION WHAT: by a warning, within 30 s of the fault.
named() {
    wait_for 30 grep -Eq "warning: $1" "$log"
    checked "$2: named after $((SECONDS - began)) s"
    grep -Eo "warning: $1.*" "$log" | head -n 1 | sed 's/^warning: /     /'
}
goes_on() { # to the undisturbed end
    ended 60
    [ $code -eq 0 ] || die "exit code $code after the fault was over"
    same "$(fingerprint "$shared/$1")" "$expected" "$1: after the fault was over"
}
resumed_on() { # HOSTS RANKS DIR
    mpirun_on "$1" "$2"
    on "${1%% *}" 0 "${launch[@]}" ./dye "${train[@]}" run.dir="$3"
    same "$(fingerprint "$shared/$3")" "$expected" "$3: after the resume"
}
no_ranks() {
    local host
    for host; do [ -z "$(processes_on "$host" dye)" ] || return 1; done
}

train_on "n1 n2 n3" stopped
victim=$(processes_on n2 dye)
kill -STOP "$victim"
named "rank [0-9] on n2 \(pid [0-9]+\) says nothing since .*, though the host answers" "a rank stopped"
kill -CONT "$victim"
goes_on stopped

train_on "n1 n2 n3" cut
lab cut n2
named "rank [0-9] on n2 \(pid [0-9]+\) cannot be reached since" "a host cut off"
lab join n2
goes_on cut

if [ "${1:-}" = --long ]; then
    train_on "n1 n2 n3" frozen
    lab freeze n2
    named "rank [0-9] on n2 \(pid [0-9]+\) says nothing since .*, though the host answers" "a host frozen"
    lab thaw n2
    goes_on frozen

    train_on "n1 n2 n3" dead
    lab kill n2
    named "rank [0-9] on n2 \(pid [0-9]+\) (ended without a word|cannot be reached)" "a host dead"
    ended 30
    [ $code -ne 0 ] || die "the job ended well without one of its hosts"
    resumed_on "n1 n3" 2 dead
    lab boot n2

    train_on "n1 n2 n3" killed
    kill_rank n2
    named "rank [0-9] on n2 \(pid [0-9]+\) ended without a word" "a rank killed"
    ended 30
    [ $code -ne 0 ] || die "the job ended well without one of its ranks"
    on n1 0 ./dye forensics killed
    said "rank [0-9] on n2 .* ended without a word" "dye forensics"
    resumed_on "n1 n3" 2 killed

    train_on "n1 n2 n3" ends control.grace=3
    lab cut n3
    named "rank [0-9] on n3 .* cannot be reached" "a host cut off for good"
    ended 30
    # mpirun would wait for the host that is cut off: it is killed where it does not end.
    [ $code -eq 79 ] || [ $code -eq 137 ] || die "exit code $code instead of 79 or 137"
    said "error STALLED: rank [0-9] on n3 .* cannot be reached" "the cause at the end"
    lost=$code
    wait_for 20 no_ranks n1 n2
    resumed_on "n1 n2" 2 ends
    lab kill n3
    lab join n3
    lab boot n3
    checked "a host cut off for good: exit code $lost, no rank left on the others, and they go on"
fi

# Rank 0's host is the victim; srun runs on the controller's host, which stays.
SLURM_run() { begin ctl srun --mpi=pmix -N3 -n3 --kill-on-bad-exit=1 ./dye "${train[@]}" "$@"; }
SLURM_run run.dir=deputy control.grace=3
wait_for 60 has_step deputy
wait_for 20 is_watched deputy
began=$SECONDS
lab cut n1
named "rank 0 on n1 \(pid [0-9]+\) cannot be reached since" "the host of rank 0 cut off"
ended 60
[ $code -ne 0 ] || die "the job ended well without rank 0"
said "error STALLED: rank 0 on n1" "the deputy's last word"
lab join n1
