#!/usr/bin/env bash
# What the scripts of tests/run/ share: a folder of their own, runs with an expected exit code, one
# line for each thing checked. Source it; DYE names the program (default: build/dye).
#
# A failed expectation prints one line and the end of the program's last output, and ends the script
# with code 1. KEEP=1 leaves the folder behind.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dye=${DYE:-$root/build/dye}
work=$(mktemp -d "${TMPDIR:-/tmp}/dye-run-XXXXXX")
log=$work/log # the last run's output, both streams
jobs_started=()

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export NO_COLOR=1 LC_ALL=C
unset SLURM_JOB_ID SLURM_STEP_NUM_TASKS

clean_up() {
    local pid
    for pid in "${jobs_started[@]}"; do kill -9 "$pid" 2>/dev/null; done
    [ -n "${KEEP:-}" ] && echo "kept: $work" || rm -rf "$work"
}
trap clean_up EXIT

checked() { echo "ok   $*"; }
die() {
    echo "FAIL $*"
    [ ! -s "$log" ] || { echo "     the program's last output:" && tail -n 25 "$log"; }
    exit 1
}
skip() {
    echo "skip $*"
    exit 77
}

[ -x "$dye" ] || die "$dye is not there: build it or set DYE"

# command_of RANKS ARGUMENT...: fills the array `command`. 0 ranks: without mpirun.
command_of() {
    local ranks=$1
    shift
    command=("$dye" "$@")
    [ "$ranks" -eq 0 ] ||
        # Open MPI leaks by itself: no leaks are looked for when a sanitizer runs under it.
        command=(env ASAN_OPTIONS=detect_leaks=0 mpirun --oversubscribe --bind-to none -n "$ranks"
            "${command[@]}")
}

# run CODE RANKS ARGUMENT...: runs to the end; any exit code but CODE ends the script. CODE "fail"
# stands for any code but 0.
run() {
    local expected=$1 code=0
    command_of "$2" "${@:3}"
    timeout -k 5 "${RUN_SECONDS:-120}" "${command[@]}" </dev/null >"$log" 2>&1 || code=$?
    case $expected in
    fail) [ $code -ne 0 ] && [ $code -lt 124 ] ;;
    *) [ $code -eq "$expected" ] ;;
    esac || die "exit code $code instead of $expected: ${command[*]}"
}

# start RANKS ARGUMENT...: in the background; $job is its process id.
start() {
    command_of "$@"
    "${command[@]}" </dev/null >"$log" 2>&1 &
    job=$!
    jobs_started+=("$job")
}

# finish CODE: waits for $job.
finish() {
    local code=0
    wait_gone "${RUN_SECONDS:-120}" "$job"
    wait "$job" 2>/dev/null || code=$?
    [ $code -eq "$1" ] || die "exit code $code instead of $1"
}

# wait_gone SECONDS PID...: until none of the processes runs any more (zombies are gone).
wait_gone() {
    local until=$((SECONDS + $1)) pid
    shift
    for pid in "$@"; do
        while is_running "$pid"; do
            [ $SECONDS -lt $until ] || { kill -9 "$@" 2>/dev/null && die "process $pid hangs"; }
            sleep 0.05
        done
    done
}

is_running() {
    local state
    state=$(sed -n 's/^[0-9]* (.*) \(.\) .*/\1/p' "/proc/$1/stat" 2>/dev/null)
    [ -n "$state" ] && [ "$state" != Z ]
}

ranks_of() { pgrep -P "$1" -x "$(basename "$dye")"; }

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || die "waited in vain for: $*"
        sleep 0.05
    done
}

# said EXPRESSION WHAT: the last output has a line like this.
said() { grep -Eq -- "$1" "$log" || die "$2: no line like '$1'"; }

fingerprint() { # of the last step that a run wrote down
    local found
    found=$(grep -o '"fingerprint": *"[0-9a-f]\{16\}"' "$1/metrics.jsonl" | tail -n 1)
    [ -n "$found" ] || die "no fingerprint in $1/metrics.jsonl"
    found=${found%\"}
    echo "${found##*\"}"
}

# What may not depend on ranks, threads or time: one line a record.
curve() {
    sed -n 's/^{\(.*\)}$/\1/p' "$1/metrics.jsonl" |
        awk '{ line = ""
               for (i = 1; i <= split("step samples loss grad_norm lr fingerprint", key, " "); ++i)
                   if (match($0, "\"" key[i] "\": *[^,}]+")) line = line substr($0, RSTART, RLENGTH) " "
               print line }'
}

checkpoints() { (cd "$1" && ls -d step-[0-9]* 2>/dev/null); }
newest() { checkpoints "$1" | tail -n 1; }
step_number() { echo $((10#${1##*step-})); }

# flip FILE OFFSET: inverts the lowest bit of one byte.
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    [ -n "$byte" ] || die "$1 has no byte $2"
    printf "\\x$(printf %02x $((byte ^ 1)))" |
        dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

same() { [ "$1" = "$2" ] || die "$3: $1 and $2"; }

# ---- runs that take a second -------------------------------------------------------------------

# The points in the plane, and a run on them of 400 quick steps with many checkpoints.
make_points() {
    run 0 0 pack swiss-roll -o "$work/points"
    small=("$root/configs/swiss-roll.yaml" data.path="$work/points" train.steps=400 train.batch=64
        train.grains=8 checkpoint.every=40 checkpoint.keep=3 log.every=20 eval.every=0
        sample.every=0 device.threads=1)
}

# The first 2000 training and 500 test pictures of Fashion-MNIST, in its own file format.
make_pictures() {
    local source=/usr/share/datasets/fashion-mnist set count
    [ -d $source ] || skip "Debian's dataset-fashion-mnist is not installed"
    mkdir "$work/idx"
    for set in train:2000 t10k:500; do
        count=${set#*:}
        set=${set%:*}
        idx_head $source/$set-images-idx3-ubyte.gz 16 "$count" 784 >"$work/idx/$set-images-idx3-ubyte"
        idx_head $source/$set-labels-idx1-ubyte.gz 8 "$count" 1 >"$work/idx/$set-labels-idx1-ubyte"
    done
    run 0 0 pack "$work/idx" -o "$work/pictures"
}

# idx_head FILE HEADER-BYTES COUNT ITEM-BYTES: the file with its first COUNT items.
idx_head() (
    set +o pipefail # head ends before gzip does
    gzip -dc "$1" 2>/dev/null | head -c 4
    printf "\\x00\\x00\\x$(printf %02x $(($3 / 256)))\\x$(printf %02x $(($3 % 256)))"
    gzip -dc "$1" 2>/dev/null | head -c $(($2 + $3 * $4)) | tail -c +9
)
