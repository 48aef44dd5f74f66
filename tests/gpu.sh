#!/usr/bin/env bash
# What only a GPU can tell: three calls of less than ten minutes each, on a machine without a network.
#
#   tests/gpu.sh check          builds; operations against the CPU's, whole runs on 1, 2 and 4 ranks
#                                  of one GPU, killed and resumed, NCCL between two of them; compute-sanitizer
#   tests/gpu.sh bench [CASE]   dye bench: the plan against what it takes, a step by families of operations
#                                  against its roofline floor, its share of the peak, of each case
#   tests/gpu.sh peer [CASE]    Dye and PyTorch in turns (A B B A): the table of ratios
#
# CASE is MODEL:BATCH[:pictures], MODEL being S, B, L or XL of patch 2 (default: S:32 B:128 XL:128 for bench, S:32
# B:128 for peer); several are fine. The last line is "N passed, N failed, N skipped"; exit code 0: none failed;
# 77: there is no GPU, or something is missing that it says in one line.
#
# --build FOLDER   kept build (build-gpu); a `dye` that is there and runs is taken where cmake, a compiler or a
#                  library's headers are not
# --seconds N      ends what has not begun by then (540)
# --emulated       no GPU: the emulated one of a build in FOLDER, and tiny cases; for testing this script
# Results lie in OUT (environment; default: FOLDER/results).
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 LC_ALL=C NO_COLOR=1

build="build-gpu"
limit=540
emulated=0
command=
cases=()
usage() {
    echo "usage: tests/gpu.sh check|bench|peer [MODEL:BATCH[:pictures] ...] [--build FOLDER] [--seconds N]" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    check | bench | peer)
        [ -z "$command" ] || usage
        command=$1
        ;;
    --build | --seconds)
        [ $# -ge 2 ] || usage
        if [ "$1" = --build ]; then build=$2; else limit=$2; fi
        shift
        ;;
    --emulated) emulated=1 ;;
    [STBLX]*:[0-9]*) cases+=("$1") ;;
    *) usage ;;
    esac
    shift
done
[ -n "$command" ] || usage

passed=0 failed=0 skipped=0
work=$(mktemp -d "${TMPDIR:-/tmp}/dye-gpu-XXXXXX")
trap 'rm -rf "$work"' EXIT
log=$work/log
ok() { passed=$((passed + 1)) && printf 'ok   %4d s  %s\n' $SECONDS "$*"; }
bad() {
    failed=$((failed + 1))
    printf 'FAIL %4d s  %s\n' $SECONDS "$*"
    [ ! -s "$log" ] || tail -n 12 "$log" | sed 's/^/     | /'
}
left_out() { skipped=$((skipped + 1)) && printf 'skip %4d s  %s\n' $SECONDS "$*"; }
missing() {
    echo "gpu.sh: $*"
    exit 77
}
# within SECONDS COMMAND...: no longer than what is left in all either. Its output is the log.
within() {
    local most=$1 rest=$((limit - SECONDS))
    shift
    [ $rest -ge 5 ] || return 125
    [ "$most" -le $rest ] || most=$rest
    timeout -k 5 "$most" "$@" </dev/null >"$log" 2>&1
}
is_late() { [ $((limit - SECONDS)) -lt "${1:-20}" ]; }

# ---- the machine and the build -------------------------------------------------------------------

if [ $emulated -eq 0 ]; then
    gpus=$(nvidia-smi --query-gpu=name,compute_cap,memory.total,driver_version --format=csv,noheader 2>/dev/null) ||
        gpus=
    [ -n "$gpus" ] || missing "no GPU here (nvidia-smi lists none)"
    echo "gpu.sh: $gpus"
fi

what_is_missing() {
    local word
    for word in cmake cc mpicc mpirun pkg-config python3 nvcc; do
        command -v $word >/dev/null || [ -x "/usr/local/cuda/bin/$word" ] || echo "$word"
    done
    for word in libzstd yaml-0.1 jansson libxxhash libpng zlib libjpeg libarchive libzmq; do
        pkg-config --exists $word 2>/dev/null || echo "$word"
    done
    echo '#include <oneapi/dnnl/dnnl.h>' | cc -E - >/dev/null 2>&1 || echo oneDNN
}

make_build() {
    local arch
    arch=$(head -n 1 <<<"${gpus:-}" | cut -d, -f2 | tr -d ' .')
    [ -e "$build/CMakeCache.txt" ] ||
        within 120 cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_ARCHITECTURES="${arch:-90}" || return
    within 400 cmake --build "$build" -j "$(nproc)"
}

PATH=$PATH:/usr/local/cuda/bin
lacking=$(what_is_missing | tr '\n' ' ')
dye=$build/dye
if [ $emulated -eq 0 ] && [ -z "$lacking" ]; then
    make_build || { bad "the build in $build" && exit 1; }
fi
[ -x "$dye" ] || missing "$dye is not there, and to build it these are missing: ${lacking:-nothing}"
"$dye" --version >"$log" 2>&1 || missing "$dye does not start: $(head -n 1 "$log")"
command -v python3 >/dev/null || missing "python3 is missing"
dye=$(realpath "$dye") build=$(realpath "$build")
DYE_BACKENDS=$build
[ $emulated -eq 0 ] || DYE_BACKENDS=$build/emulated
export DYE_BACKENDS
[ -e "$DYE_BACKENDS/libdye_cuda.so" ] ||
    missing "$DYE_BACKENDS/libdye_cuda.so is not there: nvcc was missing when $build was made"
out=${OUT:-$build/results}
mkdir -p "$out"
{
    "$dye" --version
    nvcc --version 2>/dev/null | tail -n 2
    nvidia-smi 2>/dev/null
} >"$out/machine.txt"

# shape MODEL: sets `keys`.
shape() {
    local width depth heads
    case $1 in
    T) width=64 depth=2 heads=4 ;;
    S) width=384 depth=12 heads=6 ;;
    B) width=768 depth=12 heads=12 ;;
    L) width=1024 depth=24 heads=16 ;;
    XL) width=1152 depth=28 heads=16 ;;
    *) usage ;;
    esac
    keys=("$root/tests/bench/dit-gpu.yaml" "model.width=$width" "model.depth=$depth" "model.heads=$heads"
        device.backend=cuda run.dir="$work/run")
}

make_data() { # latents or pictures
    [ ! -e "$work/$1" ] || return 0
    local source=$work/source-$1
    if [ "$1" = latents ]; then
        source=$source.npz
        python3 tests/bench/gpu_data.py latents "$source" &&
            "$dye" pack "$source" --image latents --label labels -o "$work/latents"
    else
        python3 tests/bench/gpu_data.py pictures "$source" && "$dye" pack "$source" -o "$work/pictures"
    fi >"$log" 2>&1 || { bad "made-up $1" && exit 1; }
}

# ---- check ---------------------------------------------------------------------------------------

fingerprint() { grep -o '"fingerprint": *"[0-9a-f]*"' "$1/metrics.jsonl" 2>/dev/null | tail -n 1; }

check_operations() {
    local program name
    for program in "$build"/tests/test_ops_* "$build"/tests/test_choice "$build"/tests/test_gpu_step; do
        [ -x "$program" ] || continue
        name=$(basename "$program")
        DYE_SOURCE=$root within 120 "$program"
        case $? in
        0) ok "$name" ;;
        125) left_out "$name" ;;
        *) bad "$name" ;; # 77 too: this machine has a GPU, so nobody may go without it
        esac
    done
}

# small KEY...: a run of some steps, with what differs; ranks in `ranks`.
small=(model.width=64 model.depth=2 model.heads=4 train.batch=16 train.grains=8 train.steps=12 log.every=1
    log.fingerprint_every=1 eval.every=0 sample.every=0 checkpoint.every=4 optim.schedule=constant
    device.share_gpu=true device.exchange=host)
[ $emulated -eq 0 ] || small+=(model.width=32 model.depth=1 model.heads=2 model.patch=8 train.batch=8)
train() {
    local starter=()
    [ "$ranks" -eq 0 ] || starter=(mpirun --oversubscribe --bind-to none -n "$ranks")
    within 120 "${starter[@]}" "$dye" train "${keys[@]}" "${small[@]}" data.path="$work/latents" "$@"
}

# give FOLDER: a new run with the algorithms of products that the first one has measured; others, other bits.
give() {
    [ ! -e "$work/run-0/products.txt" ] || { mkdir -p "$1" && cp "$work/run-0/products.txt" "$1"; }
}

check_runs() {
    local ranks first='' other folder
    make_data latents
    shape T
    for ranks in 0 2 4; do
        folder=$work/run-$ranks
        give "$folder"
        if ! train run.dir="$folder"; then
            bad "training on $ranks ranks" && continue
        fi
        grep -q "cuda " "$folder/run.json" || bad "$folder/run.json names no GPU"
        other=$(fingerprint "$folder")
        [ -n "$first" ] || first=$other
        if [ -n "$other" ] && [ "$other" = "$first" ]; then
            ok "training on $((ranks > 0 ? ranks : 1)) ranks that share a GPU: $other"
        else
            bad "training on $ranks ranks: $other, not $first"
        fi
    done
    check_ahead "$first"
    check_kill "$first"
}

# With nothing to look at, the host is a step ahead of the GPU.
ahead=(log.every=0 log.fingerprint_every=0 checkpoint.every=0)
check_ahead() {
    local folder=$work/ahead ranks=0
    give "$folder"
    if train run.dir="$folder" "${ahead[@]}" && [ "$(fingerprint "$folder")" = "$1" ]; then
        ok "the host a step ahead: the same"
    else
        bad "the host a step ahead: $(fingerprint "$folder"), not $1"
    fi
}

# Killed in the midst of its steps, and gone on with.
check_kill() {
    local folder=$work/killed job i ranks=0
    give "$folder"
    DYE_DRILL=stop=0@compute:8 "$dye" train "${keys[@]}" "${small[@]}" data.path="$work/latents" \
        run.dir="$folder" >"$log" 2>&1 </dev/null &
    job=$!
    for ((i = 0; i < 600; ++i)); do # until it has stopped itself
        [[ $(sed 's/.*) //' "/proc/$job/stat" 2>/dev/null) == [RSD]* ]] || break
        sleep 0.1
    done
    kill -9 $job 2>/dev/null
    wait $job 2>/dev/null
    if train run.dir="$folder" && grep -q 'resumed from .*step-000000004' "$log" &&
        [ "$(fingerprint "$folder")" = "$1" ]; then
        ok "killed in step 8, gone on with from step 4: the same"
    else
        bad "killed and gone on with: $(fingerprint "$folder"), not $1"
    fi
}

# One GPU looks to NCCL like two of two hosts. It may refuse: that is told, and is no failure.
check_nccl() {
    local folder=$work/nccl
    give "$folder"
    cat >"$work/rank.sh" <<'END'
export NCCL_HOSTID=rank$OMPI_COMM_WORLD_RANK NCCL_SOCKET_IFNAME=lo NCCL_IB_DISABLE=1 NCCL_NVLS_ENABLE=0 NCCL_MAX_CTAS=1
exec "$@"
END
    if ! within 90 mpirun --oversubscribe --bind-to none -n 2 bash "$work/rank.sh" "$dye" train "${keys[@]}" \
        "${small[@]}" "${ahead[@]}" data.path="$work/latents" run.dir="$folder" device.exchange=nccl; then
        left_out "two ranks of one GPU by NCCL: $(grep -m 1 -i 'nccl' "$log" || tail -n 1 "$log")"
    elif [ "$(fingerprint "$folder")" = "$(fingerprint "$work/run-0")" ]; then
        ok "two ranks of one GPU by NCCL: the same"
    else
        bad "two ranks of one GPU by NCCL: $(fingerprint "$folder"), not $(fingerprint "$work/run-0")"
    fi
}

check_sanitizers() {
    local tool program name sanitizer
    sanitizer=$(command -v compute-sanitizer) || {
        left_out "compute-sanitizer is not installed"
        return
    }
    for tool in memcheck initcheck racecheck; do
        for program in "$build"/tests/test_ops_*; do
            name=$(basename "$program")
            if is_late 30; then
                left_out "$tool of $name: no time left"
                continue
            fi
            DYE_SOURCE=$root within 150 "$sanitizer" --tool $tool --error-exitcode 99 "$program"
            case $? in
            0) ok "$tool of $name" ;;
            77) left_out "$tool of $name" ;;
            124 | 125 | 137) left_out "$tool of $name takes too long" ;;
            *) cp "$log" "$out/$tool-$name.txt" && bad "$tool of $name (all of it: $out/$tool-$name.txt)" ;;
            esac
        done
    done
}

# Real data, if they are installed: pictures and letters, fp32 and bf16.
check_whole_runs() {
    DYE=$dye within 200 bash tests/run/gpu_runs.sh
    case $? in
    0) ok "tests/run/gpu_runs.sh" ;;
    77) left_out "tests/run/gpu_runs.sh: $(grep '^skip' "$log")" ;;
    124 | 125 | 137) left_out "tests/run/gpu_runs.sh takes too long" ;;
    *) bad "tests/run/gpu_runs.sh" ;;
    esac
}

run_check() {
    check_operations
    check_runs
    check_nccl
    check_whole_runs
    [ $emulated -eq 1 ] || check_sanitizers
}

# ---- bench ---------------------------------------------------------------------------------------

# each CASE: sets model, batch, data.
split_case() {
    local rest=${1#*:}
    model=${1%%:*} batch=${rest%%:*} data=latents
    [[ $rest != *:* ]] || data=${rest#*:}
    [ "$data" = latents ] || [ "$data" = pictures ] || usage
}

# bench_case SECONDS FILE OPTION...: dye bench of the case that is set.
bench_case() {
    local seconds=$1 file=$2
    shift 2
    shape "$model"
    within $((seconds * 3 + 120)) "$dye" bench "${keys[@]}" data.path="$work/$data" train.batch="$batch" \
        train.grains=1 --seconds "$seconds" --json "$file" "$@"
}

run_bench() {
    local model batch data name seconds=30
    [ $emulated -eq 0 ] || seconds=2
    for name in "${cases[@]}"; do
        split_case "$name"
        make_data "$data"
        shape "$model"
        "$dye" plan "${keys[@]}" data.path="$work/$data" train.batch="$batch" train.grains=1 --gpus 1 \
            >"$out/plan-${name//:/-}.txt" 2>&1 || { cp "$out/plan-${name//:/-}.txt" "$log" && bad "plan of $name"; }
        if bench_case $seconds "$out/bench-${name//:/-}.json" --only memory,step; then
            cat "$log" >"$out/bench-${name//:/-}.txt"
            sed -n '/^step:/,$p' "$log"
            ok "$name: $(grep -E ' step_ms |model_flops_of_peak|step_over_floor' "$log" | tr -s ' ' | tr '\n' ';')"
        else
            bad "bench of $name"
        fi
    done
}

# ---- peer ----------------------------------------------------------------------------------------

time_dye() { # ROUND
    bench_case "$seconds" "$work/dye.json" --only step || { bad "dye on $name" && return 1; }
    python3 tests/bench/gpu_ratio.py dye "$name" "$1" "$batch" "$work/dye.json" >>"$lines"
}

time_torch() { # ROUND WORD...
    local round=$1
    shift
    within 240 "$python" tests/bench/dit_gpu_peer.py model="$model" data="$data" B="$batch" "${peer_words[@]}" "$@" ||
        { bad "PyTorch on $name" && return 1; }
    grep '^{' "$log" >>"$out/peer.jsonl"
    grep '^{' "$log" >"$work/torch.json"
    python3 tests/bench/gpu_ratio.py torch "$name" "$round" "$work/torch.json" >>"$lines"
}

# The fastest of PyTorch's ways of attention in eager mode, then whether it is faster compiled: sets `best`.
choose_peer() {
    local found
    within 240 "$python" tests/bench/dit_gpu_peer.py model="$model" data="$data" B="$batch" "${peer_words[@]}" \
        sdpa=sweep steps=10 || { bad "PyTorch on $name" && return 1; }
    cat "$log" >>"$out/sweep.jsonl"
    found=$(grep '^{.*step_ms_median' "$log" | tail -n 1 | grep -o '"sdpa": "[a-z]*"' | cut -d'"' -f4)
    best=(sdpa="$found" mode=eager)
    [ $emulated -eq 1 ] || best=(sdpa="$found" mode=compile)
    ok "PyTorch's attention for $name is $found"
}

run_peer() {
    local model batch data name seconds=10 round python lines=$out/rounds.jsonl best=() peer_words=()
    python=
    for word in "${DYE_PEER_PYTHON:-}" python3; do
        [ -z "$word" ] || ! "$word" -c 'import torch' 2>/dev/null || { python=$word && break; }
    done
    [ -n "$python" ] || missing "no Python with torch (DYE_PEER_PYTHON names one)"
    if [ $emulated -eq 1 ]; then
        peer_words=(dev=cpu steps=3 warmup=1)
        seconds=2
    fi
    export TORCHINDUCTOR_CACHE_DIR=$build/inductor
    : >"$lines"
    for name in "${cases[@]}"; do
        split_case "$name"
        make_data "$data"
        choose_peer || continue
        for round in 1 2 3; do
            is_late 100 && [ $emulated -eq 0 ] && left_out "round $round of $name: no time left" && break
            if [ $((round % 2)) -eq 1 ]; then
                time_dye "$round" && time_torch "$round" "${best[@]}" &&
                    time_torch "$round" "${best[@]}" && time_dye "$round"
            else
                time_torch "$round" "${best[@]}" && time_dye "$round" &&
                    time_dye "$round" && time_torch "$round" "${best[@]}"
            fi || break
            ok "round $round of $name"
            [ $emulated -eq 0 ] || break
        done
    done
    python3 tests/bench/gpu_ratio.py "$lines" | tee "$out/ratios.md"
}

if [ ${#cases[@]} -eq 0 ]; then
    cases=(S:32 B:128)
    [ "$command" != bench ] || cases+=(XL:128)
    [ $emulated -eq 0 ] || cases=(T:2)
fi
"run_$command"
printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed -eq 0 ]
