#!/usr/bin/env bash
# Samples a second on ranks x threads, as ratios to 1x1 of the same round.
#
#   tests/bench/scaling.sh CONFIG.yaml [key=value ...]
#
# Weak: batch and grains grow with the cores, the work of a core stays. Strong: the same batch. All
# cells take turns, ROUNDS times (3) for SECONDS_EACH (4); a cell's figure is the median ratio over
# the rounds, and [least, most]. CELLS="1x1 1x2 2x1" are the cells: by default one rank with all cores
# of this host, one rank a core, and halves. DYE names the program (default: build/dye).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dye=${DYE:-$root/build/dye}
rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-4} cores=$(nproc)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 LC_ALL=C

[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
[ -x "$dye" ] || { echo "$dye is not there: build it or set DYE"; exit 2; }
config=$1
shift

default_cells() {
    printf '%s\n' 1x1 1x"$cores" "$((cores > 3 ? 2 : 1))x$((cores > 3 ? cores / 2 : cores))" \
        "$cores"x1 | awk '!seen[$0]++'
}
cells=${CELLS:-$(default_cells)}

# The value of a key as the run would resolve it: from the words, else the file, else the default.
setting() {
    local section=${1%.*} key=${1#*.} value
    value=$(printf '%s\n' "${@:3}" | sed -n "s/^$section\.$key=//p" | tail -n 1)
    [ -n "$value" ] || value=$(awk -v section="$section:" -v key="$key:" '
        /^[a-z]/ { inside = $1 == section } inside && $1 == key { print $2 }' "$config")
    echo "${value:-$2}"
}
batch=$(setting train.batch 256 "$@")
grains=$(setting train.grains 16 "$@")

work=$(mktemp -d "${TMPDIR:-/tmp}/dye-scaling-XXXXXX")
trap 'rm -rf "$work"' EXIT

figure() { sed -n "s/.*\"$1\":\([0-9.e+-]*\).*/\1/p" "$work/json"; }

# measure KIND CELL WORD...: one line "KIND CELL SAMPLES_PER_S FOREIGN" into the round's file.
measure() {
    local kind=$1 cell=$2 ranks=${2%x*} threads=${2#*x} factor=1
    shift 2
    [ "$kind" = strong ] || factor=$((ranks * threads))
    local command=("$dye" bench "$config" "$@" run.dir="$work/run" device.threads="$threads"
        train.batch=$((batch * factor)) train.grains=$((grains * factor))
        --only step --seconds "$seconds" --json "$work/json")
    [ "$ranks" -eq 1 ] || command=(mpirun --oversubscribe --bind-to none -n "$ranks" "${command[@]}")
    "${command[@]}" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    echo "$kind $cell $(figure samples_per_s) $(figure foreign_load)" >>"$work/round"
}

for round in $(seq "$rounds"); do
    : >"$work/round"
    for cell in $cells; do
        measure weak "$cell" "$@"
        measure strong "$cell" "$@"
    done
    awk -v round="$round" '
        $2 == "1x1" { base[$1] = $3 }
        { kind[NR] = $1; cell[NR] = $2; rate[NR] = $3; if ($4 > worst) worst = $4 }
        END { for (i = 1; i <= NR; ++i)
                  if (base[kind[i]] > 0) print kind[i], cell[i], rate[i] / base[kind[i]], rate[i]
              printf "round %d: others used up to %.1f %% of the cores\n", round, 100 * worst \
                  > "/dev/stderr" }' "$work/round" >>"$work/ratios"
done

printf '%-7s %-7s %8s %18s %11s %12s\n' kind cell ratio "[least, most]" "a core" samples/s
for kind in weak strong; do
    for cell in $cells; do
        grep "^$kind $cell " "$work/ratios" | sort -g -k 3 | awk -v cores=$((${cell%x*} * ${cell#*x})) '
            { ratio[NR] = $3; rate[NR] = $4 }
            END { middle = int((NR + 1) / 2)
                  printf "%-7s %-7s %8.3f   [%6.3f, %6.3f] %11.3f %12.1f\n", $1, $2, ratio[middle],
                      ratio[1], ratio[NR], ratio[middle] / cores, rate[middle] }'
    done
done
