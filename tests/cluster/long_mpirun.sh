#!/usr/bin/env bash
# mpirun over a host file: the same fingerprint on one, two and three hosts, and across a resume on
# another number of them.
# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

lab_up 3
on n1 0 ./dye "${train[@]}" run.dir=one
expected=$(fingerprint "$shared/one")
checked "one host: $expected"

mpirun_on "n1 n2" 2
on n1 0 "${launch[@]}" ./dye "${train[@]}" run.dir=two
said "2 ranks on 2 hosts" "the ranks are not on two hosts"
same "$(fingerprint "$shared/two")" "$expected" "two hosts"
mpirun_on "n1 n2 n3" 4
on n2 0 "${launch[@]}" ./dye "${train[@]}" run.dir=three
said "4 ranks on 3 hosts" "the ranks are not on three hosts"
same "$(fingerprint "$shared/three")" "$expected" "three hosts"
curve "$shared/one" >"$work/curve"
for run in two three; do
    curve "$shared/$run" | diff "$work/curve" - || die "run $run trains otherwise than one host"
done
checked "two and three hosts: the same curve and fingerprint"

# move FIRST-HOSTS FIRST-RANKS HOSTS RANKS
move() {
    local dir=$2-to-$4 step
    mpirun_on "$1" "$2"
    begin "${1%% *}" "${launch[@]}" ./dye "${train[@]}" run.dir="$dir"
    stop_run "$dir" "${1%% *}"
    step=$(newest "$shared/$dir")
    mpirun_on "$3" "$4"
    on "${3%% *}" 0 "${launch[@]}" ./dye "${train[@]}" run.dir="$dir"
    said "resumed from .*$step" "resume"
    same "$(fingerprint "$shared/$dir")" "$expected" "$2 ranks on $1, then $4 ranks on $3"
    checked "stopped at $(step_number "$step") on $1, gone on with on $3: the same fingerprint"
}
move "n1 n2 n3" 3 "n2 n3" 2
move "n2 n3" 2 "n1 n2 n3" 4
