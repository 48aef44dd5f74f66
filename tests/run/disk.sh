#!/usr/bin/env bash
# A disk that is full, read-only or away in mid-run: training pauses before it loses more than twice
# the checkpoint interval, says so, goes on by itself, and comes to the undisturbed fingerprint.
if [ -z "${DYE_DISK_SPACE:-}" ]; then
    export DYE_DISK_SPACE=1
    for way in -m -Urm; do
        ! unshare $way sh -c 'mount -t tmpfs none /mnt' 2>/dev/null || exec unshare $way bash "$0" "$@"
    done
    echo "skip mounts are not allowed here"
    exit 77
fi
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The disk, which can go away: what is seen of it is another mount. Its sealed view is made before
# anything writes through it, for a mount with a writer cannot be made read-only.
mkdir "$work/real" "$work/disk" "$work/sealed"
mount -t tmpfs -o size=24m tmpfs "$work/real"
mount --bind "$work/real" "$work/disk"
mount --bind "$work/real" "$work/sealed"
mount -o remount,bind,ro "$work/sealed"
disk=$work/disk
trap 'umount -l "$work/disk" "$work/sealed" "$work/real" 2>/dev/null; clean_up' EXIT

make_points
small+=(train.steps=600 checkpoint.every=20 checkpoint.retry=0.3 log.every=1)
run 0 2 train "${small[@]}" run.dir="$work/whole"
expected=$(fingerprint "$work/whole")
checked "undisturbed: $expected"

fill() { head -c 1G /dev/zero >"$work/real/ballast" 2>/dev/null; }
free() { rm -f "$work/real/ballast"; }
has_checkpoint() { [ -n "$(newest "$disk/$1")" ]; }
# begin NAME KEY=VALUE...: two ranks on the disk, until there is something to lose.
begin() {
    start 2 train "${small[@]}" run.dir="$disk/$1" "${@:2}"
    wait_for 60 grep -q '"step"' "$disk/$1/metrics.jsonl"
}
paused() { wait_for 60 grep -q "paused at step" "$log"; }
# A stop adds a fingerprint of its step.
plain() { curve "$1" | sed '/"step": [0-9]*00 /!s/"fingerprint".*//'; }
# came_through NAME: the whole run is there, as if nothing had been.
came_through() {
    same "$(newest "$disk/$1")" step-000000600 "$1: the last checkpoint"
    same "$(fingerprint "$disk/$1")" "$expected" "$1: the fingerprint"
    diff <(plain "$work/whole") <(plain "$disk/$1") >/dev/null || die "$1: metrics.jsonl has gaps"
    run 0 0 verify "$disk/$1"
    rm -rf "${disk:?}/$1"
}

begin full
wait_for 60 has_checkpoint full
fill
paused
kept=$(newest "$disk/full")
said "paused at step [0-9]+: .*no room for a checkpoint.* MB are missing" "the reason"
said "SIGUSR1 stops the job, the last good checkpoint is step $(step_number "$kept")" "what to do"
step=$(sed -n 's/.*paused at step \([0-9]*\):.*/\1/p' "$log")
[ $((step - $(step_number "$kept"))) -le 100 ] || die "paused only at step $step"
sleep 1
same "$(grep -c 'paused at' "$log")" 1 "times that the pause is told within a minute"
is_running "$job" || die "a full disk ended the run"
free
finish 0
said "step $step is saved: the pause is over" "the end of the pause"
came_through full
checked "completely full: paused at $step, $(step_number "$kept") good; the same end, no line lost"

begin last checkpoint.every=1000000 sample.every=100 eval.every=100 eval.samples=50
fill
wait_for 60 grep -q "paused at step 600" "$log"
free
finish 0
said "metrics.jsonl: cannot be written; lines wait in memory" "waiting lines"
said "metrics.jsonl: is written again; no line is lost" "lines that waited"
same "$(wc -l <"$disk/last/eval.jsonl")" 6 "lines of eval.jsonl"
said "cannot write .*samples/step-000000[1-5]00" "a picture without room"
came_through last
checked "full until the last save, metrics too: waited for room"

begin readonly
mount --bind "$work/sealed" "$disk"
paused
said "Read-only file system" "the reason"
umount -l "$disk"
finish 0
came_through readonly
checked "read-only for a while: the same end"

begin away
umount -l "$disk"
paused
said "was its file system unmounted" "the reason"
mount --bind "$work/real" "$disk"
finish 0
came_through away
checked "away for a while: the same end"

begin given-up
wait_for 60 has_checkpoint given-up
fill
paused
kept=$(newest "$disk/given-up")
kill -USR1 "$job"
finish 75
said "stopped at step [0-9]+ without a save: .*no room.*; the last good checkpoint is step $(step_number "$kept")" \
    "what is lost"
free
run 0 1 train "${small[@]}" run.dir="$disk/given-up"
said "resumed from .*$kept" "resume"
came_through given-up
checked "SIGUSR1 in a pause: exit 75, the last good checkpoint named, the same end after a resume"

end=$(($(date +%s) + 8))
DYE_END_TIME=$end begin ends
wait_for 60 has_checkpoint ends
fill
finish 75
[ "$(date +%s)" -lt $end ] || die "the pause outlasted the job"
kept=$(newest "$disk/ends")
said "without a save: .*no room.*; the last good checkpoint is step $(step_number "$kept")" "what is lost"
free
run 0 1 train "${small[@]}" run.dir="$disk/ends"
came_through ends
checked "the end of the job in a pause: exit 75, the last good checkpoint named, the same end"

begin stop checkpoint.every=1000000
fill
kill -USR1 "$job"
paused
sleep 1
is_running "$job" || die "one signal was taken for two"
free
finish 75
said "stopped at step [0-9]+ of 600, saved" "the stop"
run 0 3 train "${small[@]}" run.dir="$disk/stop"
came_through stop
checked "SIGUSR1 on a full disk: saved and stopped when there was room"
