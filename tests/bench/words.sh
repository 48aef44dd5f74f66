#!/usr/bin/env bash
# What steps buy in text: the share of whole words that a run draws which are words of its training text, and how
# long drawing took, for solvers and numbers of steps.
#
#   words.sh RUN SOLVER[,SOLVER...] STEPS[,STEPS...] [-n COUNT] [key=value ...]
#
# DYE names the program (default: build/dye). The run's data set must hold text with spaces. Prints Markdown rows:
# solver, steps, share of words, its standard error over lines, distinct words over words (a sampler that repeats
# itself has few), seconds a sample.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dye=${DYE:-$root/build/dye}
[ $# -ge 3 ] || { sed -n '2,10p' "${BASH_SOURCE[0]}" | sed 's/^# \?//' && exit 2; }
run=$1 solvers=${2//,/ } steps=${3//,/ } count=64
shift 3
[ "${1:-}" != -n ] || { count=$2 && shift 2; }
[ -x "$dye" ] || { echo "$dye is not there: build it or set DYE" && exit 2; }
work=$(mktemp -d "${TMPDIR:-/tmp}/dye-words-XXXXXX")
trap 'rm -rf "$work"' EXIT

data=$(sed -n 's/^ *path: *\([^ ]*\).*/\1/p' "$run/config.yaml" | head -n 1)
"$dye" unpack "$data" -o "$work/text" >"$work/log" || { cat "$work/log" && exit 1; }
cat "$work"/text/train* | tr -s ' \n' '\n' | sort -u >"$work/words"
echo "| solver | steps | words | +- | distinct | s a sample |"
echo "|---|--:|--:|--:|--:|--:|"
for solver in $solvers; do
    for step in $steps; do
        began=$(date +%s.%N)
        "$dye" sample "$run" -n "$count" --solver "$solver" --steps "$step" -o "$work/lines" "$@" >"$work/log" 2>&1 ||
            { tail -n 3 "$work/log" && exit 1; }
        took=$(awk -v began="$began" -v now="$(date +%s.%N)" -v n="$count" 'BEGIN { print (now - began) / n }')
        # The first and the last word of a line may be cut.
        awk -v solver="$solver" -v step="$step" -v took="$took" '
            NR == FNR { known[$1] = 1; next }
            { words = right = 0
              for (i = 2; i < NF; ++i) { ++words; ++all; right += $i in known; distinct += !seen[$i]++ }
              if (words > 0) { share = right / words; sum += share; square += share * share; ++lines } }
            END { mean = sum / lines; variance = square / lines - mean * mean
                  printf "| %s | %d | %.3f | %.3f | %.3f | %.3f |\n", solver, step, mean, sqrt(variance / lines),
                      distinct / all, took }
        ' "$work/words" "$work/lines"
    done
done
