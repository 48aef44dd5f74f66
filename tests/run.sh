#!/usr/bin/env bash
# The whole suite: installs what is missing, builds three ways, tests each, sums up in one line.
#
#   tests/run.sh [--long] [--filter RE]
#
# --long        the long tests too, and one minute of fuzzing a target instead of six seconds
# --filter RE   only tests whose names match, in the Release build only
#
# The last line is "N passed, N failed" and, if any were, ", N skipped". Exit code 0: none failed.
# Builds are kept in build/, build-asan/ and build-fuzz/: the second run is quicker.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

long=0
filter=
while [ $# -gt 0 ]; do
    case $1 in
    --long) long=1 ;;
    --filter)
        [ $# -ge 2 ] || { echo "run.sh: --filter needs an expression" >&2 && exit 2; }
        filter=$2
        shift
        ;;
    *)
        echo "run.sh: unknown argument $1 (known: --long, --filter RE)" >&2
        exit 2
        ;;
    esac
    shift
done

cores=$(nproc)
logs=$(mktemp -d "${TMPDIR:-/tmp}/dye-suite-XXXXXX")
trap 'rm -rf "$logs"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export UBSAN_OPTIONS=print_stacktrace=1
passed=0
failed=0
skipped=0
failures=()

stage() { printf '\n== %4d s  %s\n' $SECONDS "$*"; }

finish() {
    echo
    [ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
    printf '%d passed, %d failed' $passed $failed
    [ $skipped -eq 0 ] || printf ', %d skipped' $skipped
    echo
    [ $failed -eq 0 ] && [ $passed -gt 0 ]
    exit
}

# A step that is no test of its own: it counts only when it fails.
must() {
    local what=$1
    shift
    if "$@" >"$logs/step" 2>&1 </dev/null; then return 0; fi
    tail -n 40 "$logs/step"
    failed=$((failed + 1))
    failures+=("$what")
    return 1
}

# build FOLDER TARGET CMAKE-ARGUMENT...
build() {
    local folder=$1 target=$2
    shift 2
    must "configuring $folder" cmake -S . -B "$folder" "$@" &&
        must "building $folder" cmake --build "$folder" -j "$cores" --target "$target"
}

# One word and a name for each test of a report. A test that could not even start is a failure,
# which ctest files under skipped.
verdicts() {
    awk -F '"' '/<testcase name=/ { name = $2; status = $8
                                    if (status == "run") print "passed", name
                                    if (status == "fail") print "failed", name }
                /<skipped message=/ && status == "notrun" {
                    print ($2 ~ /^SKIP_/ ? "skipped" : "failed"), name }' "$1"
}

# suite FOLDER CTEST-ARGUMENT...: runs tests and adds up what ctest reports of them.
suite() {
    local folder=$1 report=$logs/report.xml
    shift
    rm -f "$report"
    [ -z "$filter" ] || set -- "$@" -R "$filter"
    ctest --test-dir "$folder" -j "$cores" --output-on-failure --output-junit "$report" "$@" \
        </dev/null 2>&1 | grep -v '^ *Start '
    if [ ! -s "$report" ]; then
        failed=$((failed + 1))
        failures+=("ctest in $folder")
        return
    fi
    local verdict name
    while read -r verdict name; do
        case $verdict in
        passed) passed=$((passed + 1)) ;;
        skipped) skipped=$((skipped + 1)) ;;
        failed)
            failed=$((failed + 1))
            failures+=("$name in $folder")
            ;;
        esac
    done < <(verdicts "$report")
}

without_long=(-LE '^long$')
slow='|slow'
[ $long -eq 0 ] || without_long=() slow=

stage "packages"
must "installing packages" bash launch/install.sh --tests || finish

stage "Release build with $(cc --version | head -n 1)"
if build build all -DCMAKE_BUILD_TYPE=Release; then
    stage "tests"
    suite build "${without_long[@]}"
fi
[ -z "$filter" ] || finish

with_clang=(-DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER=clang)

stage "sanitizer build with $(clang --version | head -n 1)"
if build build-asan all "${with_clang[@]}" -DDYE_SANITIZE=ON; then
    stage "tests under the address and undefined-behaviour sanitizers"
    suite build-asan -LE "mpi|run|house|long$slow"
    stage "two ranks, and a small run of the program, under the sanitizers"
    suite build-asan -L '^mpi$' -LE 'run|long' -R '[-]2$'
    suite build-asan -L '^smoke$'
fi

stage "fuzzing"
seconds=6
[ $long -eq 0 ] || seconds=60
if build build-fuzz fuzz "${with_clang[@]}" -DDYE_FUZZ=ON -DDYE_FUZZ_SECONDS=$seconds; then
    suite build-fuzz -L '^fuzz$'
fi
finish
