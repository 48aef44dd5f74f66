#!/usr/bin/env bash
# kill -9 at random moments, of a rank or of mpirun, and on with another number of ranks: always the
# fingerprint of the undisturbed run, never a damaged checkpoint. kill.sh [KILLS [SEED]]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

kills_wanted=${1:-5}
seed=${2:-$(date +%N | sed 's/^0*//')}
RANDOM=$((seed % 32768))
echo "     seed $((seed % 32768))"

make_points
small+=(train.steps=1500 checkpoint.every=25)
began=$(date +%s%N)
run 0 2 train "${small[@]}" run.dir="$work/whole"
whole_ms=$((($(date +%s%N) - began) / 1000000))
expected=$(fingerprint "$work/whole")
checked "undisturbed: $expected in $whole_ms ms"

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# nap MILLISECONDS: that long, or until the job is over.
nap() {
    local until=$(($(now_ms) + $1))
    while [ "$(now_ms)" -lt $until ] && is_running "$job"; do sleep 0.01; done
}

# Kills one process of $job and waits until all are gone; sets `victim`.
kill_one() {
    local pids
    mapfile -t pids < <(ranks_of "$job")
    if [ ${#pids[@]} -eq 0 ] || [ $((RANDOM % 4)) -eq 0 ]; then
        victim=mpirun
        kill -9 "$job" 2>/dev/null
    else
        victim="a rank of ${#pids[@]}"
        kill -9 "${pids[RANDOM % ${#pids[@]}]}" 2>/dev/null
    fi
    # Ranks see the end of mpirun within a second; a rank's end is seen by mpirun.
    wait_gone 20 "$job" "${pids[@]}"
}

kills=0
round=0
while [ "$kills" -lt "$kills_wanted" ]; do
    round=$((round + 1))
    dir=$work/round
    rm -rf "$dir"
    story=
    in_round=0
    while :; do
        before=$(newest "$dir" 2>/dev/null)
        ranks=$((1 + RANDOM % 4))
        if [ $in_round -ge 3 ] || [ "$kills" -ge "$kills_wanted" ]; then
            run 0 $ranks train "${small[@]}" run.dir="$dir"
            break
        fi
        start $ranks train "${small[@]}" run.dir="$dir"
        nap $((RANDOM * whole_ms / 32768))
        if ! is_running "$job"; then
            # The machine has become quicker than when the whole run was timed.
            whole_ms=$((whole_ms / 2 + 500))
            finish 0
            break
        fi
        kill_one
        code=0
        wait "$job" 2>/dev/null || code=$?
        [ $code -ne 0 ] || break
        kills=$((kills + 1))
        in_round=$((in_round + 1))
        after=$(newest "$dir" 2>/dev/null)
        story="$story $ranks ranks, $victim after ${after:-no checkpoint};"
        if [ -n "$before" ] && [ "$before" \> "$after" ]; then die "$before is lost ($story)"; fi
        if [ -n "$after" ]; then run 0 0 verify "$dir"; fi
    done
    if [ -n "$before" ]; then said "resumed from .*$before|nothing to do" "resume at $before"; fi
    same "$(fingerprint "$dir")" "$expected" "after$story fingerprints differ"
    run 0 0 verify "$dir"
    checked "round $round:$story then $ranks ranks to the end"
done
checked "$kills kills in $round rounds, always $expected"
