#!/usr/bin/env bash
# From a bare Debian 12 to a picture of generated clothes: install, build, train, sample.
#
#   launch/quickstart.sh [--no-install]
#
# Under ten minutes on two cores. The training is stopped on purpose half way and goes on with
# another number of ranks. Run it twice and it goes on from what is there.
# --no-install names missing packages and stops.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What makes the shipped configuration last about four minutes on two cores.
budget=(train.steps=900 checkpoint.every=2m log.every=50 eval.every=0
    sample.every=0)
run=runs/quickstart
grid=$run/grid.png
first_ranks=2
second_ranks=4
first_leg=120 # seconds

began=$SECONDS
step() { printf '\n== %3d s  %s\n' $((SECONDS - began)) "$*"; }
stop() {
    echo "quickstart.sh: $*" >&2
    exit 1
}

if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

# train RANKS SECONDS: when the seconds are over (0: never), SIGUSR1 asks the run to save and stop.
train() {
    timeout --foreground --preserve-status -s USR1 "$2" \
        mpirun --quiet --oversubscribe --bind-to none -n "$1" \
        build/dye train configs/fashion-mnist.yaml run.dir=$run "${budget[@]}" </dev/null
}

step "packages"
bash launch/install.sh "$@"

step "build"
mkdir -p build
log=build/quickstart.log
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release >$log 2>&1 &&
    cmake --build build -j "$(nproc)" --target dye >>$log 2>&1 ||
    { tail -n 20 $log >&2 && stop "the build failed; the whole text is in $log"; }
build/dye --version

step "data: Fashion-MNIST"
bash launch/get-data.sh fashion-mnist

step "training with $first_ranks ranks, stopped after $first_leg s"
code=0
train $first_ranks "$first_leg" || code=$?
case $code in
0) step "finished already" ;;
75)
    step "saved but unfinished (exit code 75): the same command again, now with $second_ranks ranks"
    train $second_ranks 0 || stop "the second leg failed with exit code $?"
    ;;
*) stop "training failed with exit code $code" ;;
esac

step "64 samples"
build/dye sample $run -n 64 -o $grid

step "done: look at $PWD/$grid"
