#!/usr/bin/env bash
# From a bare Debian 12 to a picture of generated clothes: install, build, train, sample.
#
#   launch/quickstart.sh [--no-install] [--check]
#
# Under ten minutes on two cores. The training is stopped on purpose half way and goes on with
# another number of ranks. Run it twice and it goes on from what is there.
#
# --no-install, where there is no root (launch/install.sh): names what is missing, how modules or Spack
# supply it, and stops with exit code 69. If nothing is, it goes on; without the pictures' files it says
# where to get them and trains on points in the plane. --check does no more than look.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

config=configs/fashion-mnist.yaml
# What makes the shipped configuration last about four minutes on two cores.
budget=(train.steps=900 checkpoint.every=2m log.every=50 eval.every=0
    sample.every=0)
run=runs/quickstart
samples=$run/grid.png
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
        build/dye train "$config" run.dir="$run" "${budget[@]}" </dev/null
}

no_install=()
check=0
for argument; do
    case $argument in
    --no-install) no_install=(--no-install) ;;
    --check) no_install=(--no-install) && check=1 ;;
    *)
        echo "quickstart.sh: unknown argument $argument (known: --no-install --check)" >&2
        exit 2
        ;;
    esac
done

step "packages"
bash launch/install.sh "${no_install[@]}"
[ $check -eq 0 ] || exit 0

step "build"
mkdir -p build
log=build/quickstart.log
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release >$log 2>&1 &&
    cmake --build build -j "$(nproc)" --target dye >>$log 2>&1 ||
    { tail -n 20 $log >&2 && stop "the build failed; the whole text is in $log"; }
build/dye --version

step "data: Fashion-MNIST"
code=0
bash launch/get-data.sh "${no_install[@]}" fashion-mnist || code=$?
if [ $code -eq 69 ] && [ ${#no_install[@]} -gt 0 ]; then
    step "going on without it: points in the plane"
    bash launch/get-data.sh swiss-roll
    config=configs/swiss-roll.yaml
    run=runs/quickstart-points
    samples=$run/points.txt
    budget=(train.steps=20000 checkpoint.every=2m log.every=500 eval.every=0 sample.every=0)
    first_leg=20
elif [ $code -ne 0 ]; then
    exit $code
fi

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
build/dye sample "$run" -n 64 -o "$samples"

step "done: look at $PWD/$samples"
