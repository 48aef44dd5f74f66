#!/usr/bin/env bash
# Faults on other hosts: a rank killed, a host killed, the host of rank 0 killed, a cable pulled, a run
# folder without any room. The job ends or goes on, and comes to the undisturbed fingerprint.
# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

lab_up 3
on n1 0 ./dye "${train[@]}" run.dir=one
expected=$(fingerprint "$shared/one")
checked "undisturbed: $expected"

has_checkpoint() { [ -n "$(newest "$shared/$1")" ]; }
no_ranks() {
    local host
    for host; do [ -z "$(processes_on "$host" dye)" ] || return 1; done
}
# train_on HOSTS DIR KEY=VALUE...: three ranks in the background, until there is a checkpoint.
train_on() {
    mpirun_on "$1" 3
    begin "${1%% *}" "${launch[@]}" ./dye "${train[@]}" run.dir="$2" "${@:3}"
    wait_for 60 has_checkpoint "$2"
    is_running "$job" || die "the run was over before the fault"
}
# goes_on HOSTS RANKS DIR
goes_on() {
    mpirun_on "$1" "$2"
    on "${1%% *}" 0 "${launch[@]}" ./dye "${train[@]}" run.dir="$3"
    said "resumed from $3/step-" "resume"
    same "$(fingerprint "$shared/$3")" "$expected" "$3: after the resume"
}

train_on "n1 n2 n3" rank
kill_rank n2
ended 30
[ $code -ne 0 ] || die "the job ended well without one of its ranks"
no_ranks n1 n2 n3 || die "ranks are left"
lost=$code
goes_on "n1 n3" 2 rank
checked "a rank on another host killed: exit code $lost, no rank left; two hosts go on to the same end"

train_on "n1 n2 n3" host
lab kill n2
ended 30
[ $code -ne 0 ] || die "the job ended well without one of its hosts"
no_ranks n1 n3 || die "ranks are left"
lost=$code
goes_on "n1 n3" 2 host
lab boot n2
checked "a host killed: exit code $lost, no rank left; the other two go on to the same end"

train_on "n1 n2 n3" first
lab kill n1
ended 30
[ $code -ne 0 ] || die "mpirun ended well on a dead host"
wait_for 30 no_ranks n2 n3
on n2 69 ./dye "${train[@]}" run.dir=first
said "n1" "the dead holder of the lock is not named"
# Nobody can know from afar that n1 is dead; a minute without a sign is taken for it.
touch -d '2 minutes ago' "$shared/first/lock.json"
goes_on "n2 n3" 2 first
lab boot n1
checked "the host of mpirun and rank 0 killed: no rank left; refused for a minute, then the same end"

train_on "n1 n2 n3" cut
lab cut n2
wait_for 25 grep -Eq "rank [0-9] on n2 .*cannot be reached" "$log"
lab join n2
ended 60
[ $code -eq 0 ] || die "exit code $code after the cable was back"
same "$(fingerprint "$shared/cut")" "$expected" "after the cable was back"
checked "a cable pulled: its host is named, and the ranks go on when it is back"

train_on "n1 n2 n3" full checkpoint.retry=0.5
lab fill "$shared"
wait_for 30 grep -q "paused at step" "$log"
kept=$(newest "$shared/full")
said "last good checkpoint is step $(step_number "$kept")" "the good checkpoint is not named"
said "no room for a checkpoint" "the reason is not told"
is_running "$job" || die "training ended for want of room"
lab free "$shared"
ended 60
[ $code -eq 0 ] || die "exit code $code after room was back"
same "$(newest "$shared/full")" step-000000600 "the save after room was back"
on n1 0 ./dye verify full
same "$(fingerprint "$shared/full")" "$expected" "after want of room"
checked "no room at all: paused, said so, went on when room was back, to the same end"
