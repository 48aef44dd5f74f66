#!/usr/bin/env bash
# The algorithms of an emulated GPU's products: measured once by rank 0, shared by all ranks, kept with
# the run. DYE_EMULATED_TIMES=SEED gives each proposal another time, and each rank others, so that
# whoever measured for itself would train to other bits.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ -e "${DYE_BACKENDS:-none}/libdye_cuda.so" ] || skip "DYE_BACKENDS has no emulated libdye_cuda.so"
make_pictures

# train SEED RANKS NAME KEY...: times by SEED ("": of their own); `code` 0 or what is in the environment.
words() { # NAME KEY...
    echo train "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" device.backend=cuda \
        device.share_gpu=true log.every=1 log.fingerprint_every=1 eval.every=0 sample.every=0 model.width=32 \
        model.depth=1 model.heads=2 model.patch=7 optim.schedule=constant train.batch=8 train.grains=4 \
        train.steps=6 checkpoint.every=2 "${@:2}" run.dir="$work/$1"
}
seed() {
    unset DYE_EMULATED_TIMES
    [ -z "$1" ] || export DYE_EMULATED_TIMES=$1
}
train() {
    seed "$1"
    # shellcheck disable=SC2046 # no blanks in these
    run "${code:-0}" "$2" $(words "${@:3}")
}
choice() { grep -o 'choice [0-9a-f]\{16\}' "$work/$1/products.txt"; }
differ() { [ "$1" != "$2" ] || die "$3: both are $1"; }

# ---- what is chosen decides bits -----------------------------------------------------------------

train 1 0 one
said "products: [0-9]+ measured, $(choice one)" "the start tells of the choice"
grep -q "\"products\": \"[0-9]* measured, $(choice one)\"" "$work/one/run.json" || die "run.json has no choice"
train 2 0 two
differ "$(choice one)" "$(choice two)" "choices by other times"
differ "$(fingerprint "$work/one")" "$(fingerprint "$work/two")" "weights by other choices"
run 1 0 compare "$work/one" "$work/two"
said "products: a [0-9]+ measured, $(choice one), b [0-9]+ measured, $(choice two)" "dye compare tells why"
checked "another choice, other bits, and dye compare says so"

# ---- rank 0's is everybody's ---------------------------------------------------------------------

for ranks in 2 4; do
    train 1 $ranks ranks
    same "$(choice ranks)" "$(choice one)" "the choice of $ranks ranks"
    same "$(fingerprint "$work/ranks")" "$(fingerprint "$work/one")" "$ranks ranks"
    rm -r "$work/ranks"
done
mkdir "$work/copy"
cp "$work/one/products.txt" "$work/copy"
train 2 2 copy
same "$(fingerprint "$work/copy")" "$(fingerprint "$work/one")" "a new run with a choice that was there"
checked "1, 2 and 4 ranks: the choice of rank 0; a new run takes the one that lies in its folder"

# ---- and stays with the run ----------------------------------------------------------------------

# killed NAME STEP: a run that is killed in the midst of this step.
killed() {
    seed 1
    export DYE_DRILL=stop=0@compute:$2
    # shellcheck disable=SC2046
    start 0 $(words "$1")
    wait_for 60 grep -q '^State:[[:space:]]T' "/proc/$job/status"
    kill -9 "$job"
    wait_gone 10 "$job"
    unset DYE_DRILL
}
killed early 1
[ -z "$(newest "$work/early")" ] || die "the run had time for a checkpoint"
train 3 0 early
same "$(fingerprint "$work/early")" "$(fingerprint "$work/one")" "killed before its first checkpoint"
killed late 5
rm "$work/late/products.txt"
train 3 3 late
said "resumed from .*step-00000000[24]" "resume"
same "$(fingerprint "$work/late")" "$(fingerprint "$work/one")" "killed, and gone on with by three ranks"
same "$(choice late)" "$(choice one)" "the choice of a run that goes on"
mkdir "$work/moved"
cp -r "$work"/one/step-000000002 "$work/moved/"
train 3 0 moved
same "$(fingerprint "$work/moved")" "$(fingerprint "$work/one")" "a checkpoint in another folder"
checked "killed and gone on with, before and after a checkpoint, and by other ranks: the same bits"

# ---- without measuring ---------------------------------------------------------------------------

train 1 2 plain device.products=heuristic
[ ! -e "$work/plain/products.txt" ] || die "a choice was written where none was made"
train '' 0 first
same "$(fingerprint "$work/plain")" "$(fingerprint "$work/first")" "the first proposal is the fastest here"
train 1 0 on device.products=heuristic train.steps=2
train 1 0 on
same "$(fingerprint "$work/on")" "$(fingerprint "$work/plain")" "a run that was begun without goes on so"
train 1 0 off train.steps=2
train 1 0 off device.products=heuristic
said "equal only statistically from here" "a run that was measured goes on without"
echo "damaged" >"$work/plain/products.txt"
rm -r "$work"/plain/step-*
train 1 0 plain device.products=heuristic
same "$(fingerprint "$work/plain")" "$(fingerprint "$work/first")" "heuristic looks at no file"
checked "heuristic: the library's first proposals, no file; a run keeps its way"

# ---- another GPU, a damaged choice ---------------------------------------------------------------

export DYE_EMULATED_NAME="other GPU"
train 2 0 late train.steps=7
said "the checkpoint was written on other hardware .*equal only statistically from here" "another GPU"
grep -q "^dye products 1 on cuda other GPU," "$work/late/products.txt" || die "the choice of another GPU goes on"
mkdir "$work/new"
cp "$work/one/products.txt" "$work/new"
train 2 0 new
grep -q "^dye products 1 on cuda other GPU," "$work/new/products.txt" || die "the choice of another GPU was kept"
rm "$work/plain/products.txt"
train 2 0 plain train.steps=7
grep -q "^dye products 1 on cuda other GPU," "$work/plain/products.txt" || die "nothing is measured on another GPU"
same "$(choice plain)" "$(choice new)" "measured anew by the same times"
rm -r "$work/plain/step-000000007" # killed before its first checkpoint on that GPU
train 3 0 plain train.steps=7
same "$(choice plain)" "$(choice new)" "a choice of this GPU that is there"
unset DYE_EMULATED_NAME
mkdir "$work/broken"
for offset in 3 60 400 1000; do
    cp "$work/one/products.txt" "$work/broken"
    flip "$work/broken/products.txt" $offset
    code=65 train 1 2 broken
    said "broken/products.txt .*; remove it, and products are measured anew" "a damaged choice"
done
head -c 2000 "$work/one/products.txt" >"$work/broken/products.txt"
code=65 train 1 0 broken
said "broken/products.txt .*; remove it, and products are measured anew" "half a choice"
rm "$work/broken/products.txt"
train 1 0 broken
same "$(fingerprint "$work/broken")" "$(fingerprint "$work/one")" "measured anew"
checked "another GPU measures anew; a damaged choice is one clear error"
