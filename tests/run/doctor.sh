#!/usr/bin/env bash
# dye doctor, and its checks before training: all well; another program, command line or instruction
# set on one rank; one GPU for two; a run folder that cannot be written; --json.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
cd "$work" || exit 1
small+=(run.dir=runs/one train.steps=20)
doctor=(doctor "${small[@]}" --seconds 0.2)

# unlike CODE A... : B...: rank 0 is started by mpirun's words A, rank 1 by B.
unlike() {
    local expected=$1 code=0 words=(-n 1) word
    shift
    for word; do
        [ "$word" = : ] && words+=(: -n 1) || words+=("$word")
    done
    timeout -k 5 60 env ASAN_OPTIONS=detect_leaks=0 mpirun --oversubscribe --bind-to none \
        "${words[@]}" </dev/null >"$log" 2>&1 || code=$?
    [ $code -eq "$expected" ] || die "exit code $code instead of $expected: mpirun ${words[*]}"
}
untrained() { [ ! -e runs ] || die "$1: it trained all the same"; }

# ---- all well -----------------------------------------------------------------------------------

run 0 0 doctor
said "^ready for training: all [0-9]+ checks passed" "alone"
run 0 2 "${doctor[@]}"
for check in launch program configuration libraries "data set" "instruction set" "run folder" space \
    memory clocks "within hosts" "all at once"; do
    said "^ok    $check " "two ranks"
done
said "^ready for " "verdict"
said "^ok    within hosts .* GB/s, .* us .*rank 0 on .*, rank 1 on " "the probe"
said "a step's exchange of .* MB takes .* ms" "the exchange of this model"
untrained "dye doctor"
[ -z "$(find . -name '.dye-probe*')" ] || die "a probe's file stays behind"
run 2 0 doctor --jsonn
run 2 0 doctor --seconds soon
checked "all well: every check, the probe, nothing left behind"

run 0 2 "${doctor[@]}" --json
python3 - "$log" <<'END' || die "--json"
import json, sys
told = json.load(open(sys.argv[1]))
assert told["ranks"] == 2 and told["verdict"].startswith("ready for")
assert {check["level"] for check in told["checks"]} <= {"ok", "warn"}
assert told["probe"]["within"]["pairs"] == 1 and told["probe"]["within"]["gb_per_s"] > 0
assert told["probe"]["between"] is None and told["probe"]["ring_gb_per_s"] > 0
END
checked "--json is one object"

# ---- one rank is unlike the other -----------------------------------------------------------------

cp "$dye" other
echo >>other
for command in "train ${small[*]}" "${doctor[*]}"; do
    # shellcheck disable=SC2086 # no blanks in these words
    unlike 78 "$dye" $command : ./other $command
    said "rank 1 on .* runs another program .*/other of .* than the others .*copy the same file to all" "program"
    same "$(grep -c 'another program' "$log")" 1 "times that it is told"
done
unlike 78 "$dye" train "${small[@]}" : "$dye" train "${small[@]}" optim.lr=1
said "rank 1 on .* was given another command line .*optim.lr=1" "command line"
unlike 78 "$dye" train "${small[@]}" : -x DNNL_MAX_CPU_ISA=SSE41 "$dye" train "${small[@]}"
said "rank 1 on .* computes otherwise .*: equal bits are impossible" "instruction set"
untrained "unlike ranks"
checked "another program, command line or kernel set: refused, the rank is named"

# ---- GPUs, by a drill ------------------------------------------------------------------------------

for command in "train ${small[*]}" "${doctor[*]}"; do
    # shellcheck disable=SC2086
    DYE_DRILL=gpu=GPU-7 run 78 2 $command
    said "ranks 0-1 on .* share the GPU GPU-7: give each rank its own" "GPU"
done
said "^FAIL  GPU " "the failed check"
said "^not ready for .*: 1 of [0-9]+ checks failed" "the verdict"
untrained "one GPU for two ranks"
unlike 0 -x DYE_DRILL=gpu=GPU-1 "$dye" "${doctor[@]}" : -x DYE_DRILL=gpu=GPU-2 "$dye" "${doctor[@]}"
said "^ok    GPU .*each of 2 ranks has its own" "GPUs of their own"
checked "one GPU for two ranks is refused"

# ---- GPUs, emulated --------------------------------------------------------------------------------

if [ -e "$(dirname "$dye")/emulated/libdye_cuda.so" ]; then
    DYE_BACKENDS=$(cd "$(dirname "$dye")" && pwd)/emulated
    export DYE_BACKENDS DYE_EMULATED_GPUS=0
    run 0 0 doctor
    run 0 2 "${doctor[@]}"
    run 78 2 "${doctor[@]}" device.backend=cuda
    said "there is no GPU that CUDA can use here" "no GPU though one is asked for"

    # SLURM (--gpus-per-task=1) lets each rank see one GPU, by CUDA_VISIBLE_DEVICES; all then call it 0.
    export DYE_EMULATED_GPUS=2
    cuda=("${doctor[@]}" device.backend=cuda)
    one=(-x DYE_EMULATED_VISIBLE=0 "$dye") other=(-x CUDA_VISIBLE_DEVICES=1 "$dye")
    unlike 0 "${one[@]}" "${cuda[@]}" : "${other[@]}" "${cuda[@]}"
    said "^ok    GPU .*each of 2 ranks has its own" "each rank sees its own GPU"
    unlike 78 "${one[@]}" "${cuda[@]}" : "${one[@]}" "${cuda[@]}"
    said "share the GPU GPU-.*01: give each rank its own" "both see the same"
    DYE_EMULATED_VISIBLE=1,0 run 0 2 "${cuda[@]}"
    said "^ok    GPU .*each of 2 ranks has its own" "each rank sees all"
    DYE_EMULATED_GPUS=1 run 78 2 "${cuda[@]}"
    said "share the GPU GPU-.*01: give each rank its own" "one GPU"
    DYE_EMULATED_GPUS=1 run 0 2 "${cuda[@]}" device.share_gpu=true device.exchange=host
    if [ -e "$DYE_BACKENDS/libdye_nccl.so" ]; then
        train=(train "${small[@]}" run.dir="$work/slurm" train.steps=2 device.backend=cuda device.exchange=nccl)
        unlike 0 "${one[@]}" "${train[@]}" : "${other[@]}" "${train[@]}"
        train+=(device.share_gpu=true train.steps=4)
        unlike 78 "${one[@]}" "${train[@]}" : "${one[@]}" "${train[@]}"
        said "ranks 0 and 1 on .* share the GPU GPU-.*01, which NCCL cannot" "NCCL on one GPU"
    fi
    unset DYE_BACKENDS DYE_EMULATED_GPUS
    untrained "a GPU for each rank"
    checked "GPUs: none, each rank's own by number or by what it sees, one for two"
fi

# ---- the run folder --------------------------------------------------------------------------------

echo >file
run 78 2 train "${small[@]}" run.dir=file/run
said "rank 0 on .* cannot write in file: Not a directory" "a file in the way"
DYE_DRILL=gpu=GPU-7 run 78 2 "${doctor[@]}" run.dir=file/run
same "$(grep -c '^FAIL' "$log")" 2 "failed checks"
DYE_DRILL=gpu=GPU-7 run 78 2 train "${small[@]}" run.dir=file/run
said "share the GPU .*; and rank 0 on .* cannot write" "all failed checks in one message"
checked "a run folder that cannot be written is refused; all that fails is told at once"

run 0 2 train "${small[@]}"
! grep -q warning "$log" || die "a warning though all is well"
run 0 2 "${doctor[@]}"
said "all ranks read and write in runs/one" "the run folder that is there"
checked "it trains, without a word from the checks"
