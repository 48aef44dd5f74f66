#!/usr/bin/env bash
# The cluster tests alone: run.sh [NAME...] (lab, mpirun, slurm, launch, doctor, faults). DYE names the program
# (default: build/dye). Exit code 0: none failed; a test that cannot run here is skipped, and says why.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

[ $# -gt 0 ] || set -- lab mpirun slurm launch doctor faults
failed=0
for name; do
    [ -f "test_$name.sh" ] || {
        echo "run.sh: no test $name (known: $(printf '%s\n' test_*.sh | sed 's/test_//;s/\.sh//' | xargs))" >&2
        exit 2
    }
done
for name; do
    echo "== $name"
    code=0
    began=$SECONDS
    timeout -k 10 150 bash "test_$name.sh" || code=$?
    case $code in
    0) echo "passed in $((SECONDS - began)) s" ;;
    77) echo "skipped" ;;
    *)
        failed=$((failed + 1))
        echo "FAILED with code $code"
        ;;
    esac
done
[ $failed -eq 0 ]
