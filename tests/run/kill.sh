#!/usr/bin/env bash
# kill -9 at random moments, of a rank or of mpirun, and on with another number of ranks: always the
# fingerprint of the undisturbed run, never a damaged checkpoint, never a fresh start beside one.
#
#   kill.sh [KILLS [SEED]]    RECORD=FILE: also one line a kill, tab-separated
#
# Half of the kills come at any time of a run, the others are aimed at its start, a save or its end.
# When each came is told afterwards, by what the run had said and left:
#   launch    before its first line: mpirun, MPI_Init, configuration
#   open      before it trained: data, model, reading a checkpoint
#   first     before its first checkpoint
#   save      while a checkpoint was written
#   between   after one checkpoint, before the next
#   end       after its last checkpoint
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

kills_wanted=${1:-5}
seed=${2:-$(date +%N | sed 's/^0*//')}
RANDOM=$((seed % 32768))
echo "     seed $((seed % 32768))"
record=${RECORD:-$work/record}
printf 'kill\tround\tmoment\tranks\tvictim\tnewest before\tnewest after\toutcome\n' >"$record" ||
    die "cannot write $record"

steps=500
kills_a_round=5
final=$(printf 'step-%09d' $steps)
make_points
small+=(train.steps=$steps checkpoint.every=20)

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
below() { echo $((RANDOM * $1 / 32768)); }

began=$(now_ms)
run 0 2 train "${small[@]}" run.dir="$work/whole"
whole_ms=$(($(now_ms) - began))
expected=$(fingerprint "$work/whole")
checked "undisturbed: $expected in $whole_ms ms"
began=$(now_ms)
run 0 2 train "${small[@]}" run.dir="$work/whole"
start_ms=$(($(now_ms) - began))

# ---- one kill -----------------------------------------------------------------------------------

# nap MILLISECONDS: that long, or until the job is over.
nap() {
    local until=$(($(now_ms) + $1))
    while [ "$(now_ms)" -lt $until ] && is_running "$job"; do sleep 0.005; done
}

# The next three start no process: a save is over in milliseconds.
spin() { # up to so many microseconds
    local until=$((${EPOCHREALTIME/[.,]/} + RANDOM * $1 / 32768))
    while [ ${EPOCHREALTIME/[.,]/} -lt $until ]; do :; done
}
leftovers() {
    left=("$dir"/.saving-step-*)
    left=${left[*]}
}
# Until a save begins, or the job is over.
await_save() {
    local left before
    shopt -s nullglob
    leftovers
    before=$left
    while { [ -z "$left" ] || [ "$left" = "$before" ]; } && kill -0 "$job" 2>/dev/null; do leftovers; done
    shopt -u nullglob
}
await_end() {
    until grep -qs "\"step\": *$steps," "$dir/metrics.jsonl" || ! is_running "$job"; do sleep 0.005; done
}

# Sets `victim` and `target`: mpirun or one of the ranks.
choose_victim() {
    local pids
    mapfile -t pids < <(ranks_of "$job")
    if [ ${#pids[@]} -eq 0 ] || [ $((RANDOM % 4)) -eq 0 ]; then
        victim=mpirun
        target=$job
    else
        victim="a rank"
        target=${pids[RANDOM % ${#pids[@]}]}
    fi
}

# Waits for the moment of the next kill. The run goes on at the checkpoint $before.
aim() {
    local left_ms=$((start_ms + (whole_ms - start_ms) * (steps - $(step_number "${before:-0}")) / steps))
    case $((RANDOM % 8)) in
    0) nap "$(below $start_ms)" && choose_victim ;;
    1 | 2 | 3) nap "$(below $left_ms)" && choose_victim && await_save && spin 10000 ;;
    4) await_end && choose_victim && spin 100000 ;;
    *) nap "$(below $left_ms)" && choose_victim ;;
    esac
}

# Also those that mpirun has just started.
no_rank_runs() { ! pgrep -f "^$dye train .* run.dir=$dir" >/dev/null; }

# Kills the victim and waits until all are gone. Sets `note` if Open MPI's mpirun stayed behind: a rank
# that dies in MPI_Init may leave it waiting. No rank may stay. Code 1: the job had ended by itself.
kill_one() {
    note=
    is_running "$job" || return 1
    kill -9 "$target" 2>/dev/null || return 1
    # Without this the shell tells of every mpirun that is killed.
    disown "$job"
    # Ranks see the end of mpirun within a second; a rank's end is seen by mpirun.
    wait_for 20 no_rank_runs
    local until=$((SECONDS + 4))
    while is_running "$job"; do
        [ $SECONDS -lt $until ] || { kill -9 "$job" && note=", mpirun hung"; }
        sleep 0.02
    done
}

# When the kill came, by what it left.
moment_of() {
    if [ "$after" = "$final" ]; then
        echo end
    elif [ -n "$(find "$dir" -maxdepth 1 -name '.saving-*' -newer "$work/began" 2>/dev/null)" ]; then
        echo save
    elif ! grep -q "^dye " "$log"; then
        echo launch
    elif ! grep -q "^start-up" "$log"; then
        echo open
    elif [ -z "$after" ]; then
        echo first
    else
        echo between
    fi
}

# What a run that began beside the checkpoint $before said of it: anything but that checkpoint, once
# it trains, is a failure.
check_resume() {
    if grep -q "^resumed from .*/$before " "$log"; then
        echo "resumed"
    elif grep -q "^start-up" "$log"; then
        die "the run did not go on at $before" >&2
    else
        echo "killed before it told"
    fi
}

# The line of the kill before this run, now that the run has told how it went on.
settle() {
    local outcome="started anew: there was no checkpoint"
    [ -n "$pending" ] || return 0
    [ -z "$before" ] || outcome=$(check_resume) || exit 1
    printf '%s\tgood, then %s\n' "$pending" "$outcome" >>"$record"
    pending=
}

# ---- rounds -------------------------------------------------------------------------------------

kills=0
round=0
while [ "$kills" -lt "$kills_wanted" ]; do
    round=$((round + 1))
    dir=$work/round
    rm -rf "$dir"
    story=
    pending=
    in_round=0
    while :; do
        before=$(newest "$dir" 2>/dev/null)
        ranks=$((1 + RANDOM % 4))
        if [ $in_round -ge $kills_a_round ] || [ "$kills" -ge "$kills_wanted" ] ||
            [ "$before" = "$final" ]; then
            run 0 $ranks train "${small[@]}" run.dir="$dir"
            break
        fi
        touch "$work/began"
        start $ranks train "${small[@]}" run.dir="$dir"
        aim
        if ! kill_one; then
            finish 0
            break
        fi
        kills=$((kills + 1))
        in_round=$((in_round + 1))
        after=$(newest "$dir" 2>/dev/null)
        moment=$(moment_of)
        story="$story $moment ($ranks ranks, $victim$note, ${after:-no checkpoint});"
        if [ -n "$before" ] && [ "$before" \> "$after" ]; then die "$before is lost ($story)"; fi
        settle
        if [ -n "$after" ]; then run 0 0 verify "$dir"; fi
        printf -v pending '%s\t' "$kills" "$round" "$moment" "$ranks" "$victim$note" "${before:--}" "${after:--}"
        pending=${pending%$'\t'}
    done
    if [ -n "$before" ]; then said "^resumed from .*/$before " "resume at $before"; fi
    settle
    same "$(fingerprint "$dir")" "$expected" "after$story fingerprints differ"
    run 0 0 verify "$dir"
    [ "$kills_wanted" -gt 50 ] || checked "round $round:$story then $ranks ranks to the end"
done

same "$(tail -n +2 "$record" | wc -l)" "$kills" "lines of the record and kills"
echo "     kills by moment: $(tail -n +2 "$record" | cut -f 3 | sort | uniq -c | awk '{ printf "%s%s %s", sep, $2, $1; sep = ", " }')"
checked "$kills kills in $round rounds and $SECONDS s: always $expected, every checkpoint good, none passed over"
