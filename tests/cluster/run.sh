#!/usr/bin/env bash
# The cluster tests alone: run.sh [NAME...], test_NAME.sh or long_NAME.sh (all but the long ones). DYE names the
# program (default: build/dye). Exit code 0: none failed; a test that cannot run here is skipped, and
# says why.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

names() { printf '%s\n' "$@" | sed 's/^[a-z]*_//; s/\.sh$//' | xargs; }
# shellcheck disable=SC2046 # names without blanks
[ $# -gt 0 ] || set -- $(names test_*.sh)
failed=0
for name; do
    [ -f "test_$name.sh" ] || [ -f "long_$name.sh" ] || {
        echo "run.sh: no test $name (known: $(names test_*.sh long_*.sh))" >&2
        exit 2
    }
done
for name; do
    echo "== $name"
    code=0
    began=$SECONDS
    if [ -f "test_$name.sh" ]; then
        timeout -k 10 240 bash "test_$name.sh" || code=$?
    else
        timeout -k 10 1200 bash "long_$name.sh" || code=$?
    fi
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
