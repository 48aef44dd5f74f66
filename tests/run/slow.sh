#!/usr/bin/env bash
# A rank that makes the others wait: named with its host, excess and cause, in the progress line, in
# metrics.jsonl, and once as a warning.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
small+=(train.steps=40 log.every=4 log.plain_seconds=0 checkpoint.every=1000000)
host=$(hostname)

# slow PLACE HINT
slow() {
    local dir=$work/$1
    DYE_DRILL="slow=2@$1:40" run 0 3 train "${small[@]}" run.dir="$dir"
    said "^step 40 .*\| slowest rank 2 on $host \+[0-9]+ ms \($1\)" "progress line"
    said "warning: rank 2 on $host makes all others wait: \+[0-9]+ ms a step \($1\); .*$2" "warning"
    same "$(grep -c "makes all others wait" "$log")" 1 "$1: number of warnings"
    tail -n 1 "$dir/metrics.jsonl" | grep -Eq '"slowest_rank": 2, "slowest_excess_s": 0\.0[3-9][0-9]*, "slowest_cause": "'"$1"'"' ||
        die "$1: metrics.jsonl says $(tail -n 1 "$dir/metrics.jsonl")"
    checked "a rank slow in $1: named, told once"
}

slow data storage
slow compute "another program"
same "$(fingerprint "$work/data")" "$(fingerprint "$work/compute")" "the bits"
