#!/usr/bin/env bash
# Compute at prediction time against quality: each solver with each number of network evaluations, as
# precision / recall / Frechet distance of what is drawn against held-out data (dye distance).
#
#   samplers.sh RUN SOLVER,... EVALUATIONS,... [--features CLASSIFIER] [-n N] [key=value ...]
#
# Points are compared as they are; pictures want a run of configs/fashion-mnist-classifier.yaml.
#
# DYE names the program (default: build/dye). Prints a table in Markdown.
set -euo pipefail
dye=${DYE:-$(dirname "${BASH_SOURCE[0]}")/../../build/dye}
[ $# -ge 3 ] || { echo "usage: samplers.sh RUN SOLVER,... EVALUATIONS,... [--features CLASSIFIER]"\
    "[-n N] [key=value ...]" >&2; exit 2; }
run=$1
IFS=, read -ra solvers <<<"$2"
IFS=, read -ra evaluations <<<"$3"
shift 3

field() { sed -n "s/^{[^}]*\"$1\": \([0-9.e+-]*\).*/\1/p"; }
echo "| evaluations |$(printf ' %s |' "${solvers[@]}")"
echo "|--:|$(printf -- '---|%.0s' "${solvers[@]}")"
for n in "${evaluations[@]}"; do
    row="| $n |"
    for solver in "${solvers[@]}"; do
        all=$("$dye" distance "$run" "$@" sampler.solver="$solver" sampler.steps="$n" --json)
        line=${all/\"floor\": \{*\}, /}
        row+=$(printf ' %.3f / %.3f / %.4f |' "$(field precision <<<"$line")" \
            "$(field recall <<<"$line")" "$(field frechet <<<"$line")")
    done
    echo "$row"
done
floor=${all##*\"floor\": }
printf 'Two halves of the held-out data: %.3f / %.3f / %.4f\n' "$(field precision <<<"$floor")" \
    "$(field recall <<<"$floor")" "$(field frechet <<<"$floor")"
features=$(sed -n 's/.*"features": {"run": "\([^"]*\)", "step": \([0-9]*\), "fingerprint": "\([^"]*\)".*/\1, step \2, weights \3/p' \
    <<<"$all")
[ -z "$features" ] || echo "By features of the classifier $features: not Inception's FID."
