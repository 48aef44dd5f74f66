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
