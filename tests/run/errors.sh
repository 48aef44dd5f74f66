#!/usr/bin/env bash
# What users get wrong: each mistake is refused with its own exit code and a sentence that helps.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
small+=(run.dir="$work/run")

# A configuration file of our own, to have line numbers.
cp "$root/configs/swiss-roll.yaml" "$work/mine.yaml"
printf 'optim:\n  lrr: 1e-3\n' >"$work/bad.yaml"
run 78 0 train "$work/bad.yaml"
said "bad.yaml:2: .*lrr" "unknown key: no file:line"
said "optim.lr" "unknown key: no nearest name"
run 78 2 train "$work/bad.yaml"
said "bad.yaml:2: .*lrr" "unknown key under mpirun"
same "$(grep -c 'bad.yaml:2: ' "$log")" 1 "times that two ranks print the same mistake"
checked "an unknown key: file, line, nearest name, told once"

run 78 0 train "${small[@]}" optim.lrr=1e-3
said "optim.lr" "unknown key on the command line"
run 78 0 train "${small[@]}" optim.lr=fast
said "optim.lr" "not a number"
run 78 0 train "${small[@]}" optim.lr=-1
said "optim.lr" "out of range"
run 78 0 train "${small[@]}" process.name=gausian
said "ddpm" "unknown choice: the choices are not listed"
printf 'optim:\n  lr: 1e-3\n  lr: 1e-4\n' >"$work/twice.yaml"
run 78 0 train "$work/twice.yaml"
said "twice.yaml:3" "repeated key"
printf 'optim:\n  lr: [1e-3\n' >"$work/broken.yaml"
run 78 0 train "$work/broken.yaml"
said "broken.yaml:" "no YAML"
checked "wrong values, choices, repeated keys and broken YAML are refused"

run fail 0 train "$work/nowhere.yaml"
said "nowhere.yaml" "missing configuration"
run fail 2 train "${small[@]}" data.path="$work/nowhere"
said "$work/nowhere" "missing data"
mkdir "$work/empty"
run fail 2 train "${small[@]}" data.path="$work/empty"
said "$work/empty" "an empty folder as data"
[ ! -e "$work/run/step-000000001" ] || die "a refused run left a checkpoint"
checked "missing files and folders are named"

run 2 0 trane
run 2 0
run 2 0 train
run 2 0 pack
run 2 0 sample "$work/run" -n many
run 0 0 help
run 0 0 help config
said "train.grains" "dye help config lists the keys"
run 0 0 --version
for library in zstd xxHash libyaml jansson libpng libjpeg-turbo zlib libarchive ZeroMQ oneDNN "Open MPI"; do
    said "(^|, )$library [0-9]+\\.[0-9.]+" "the version of $library"
done
checked "the command line: help, version, mistakes"

# A GPU's library that is there, with and without a GPU, and one that is none.
if [ -e "$(dirname "$dye")/emulated/libdye_cuda.so" ]; then
    emulated=$(cd "$(dirname "$dye")" && pwd)/emulated
    DYE_BACKENDS=$emulated run 0 0 --version
    said "^$emulated/libdye_cuda.so: cuda emulated GPU, sm_90" "a GPU"
    DYE_BACKENDS=$emulated DYE_EMULATED_GPUS=0 run 0 0 --version
    said "^$emulated/libdye_cuda.so: no GPU here: .*no CUDA-capable device" "no GPU"
fi
mkdir "$work/backends"
echo damaged >"$work/backends/libdye_cuda.so"
DYE_BACKENDS=$work/backends run 0 0 --version
said "^libdye_cuda.so cannot be used here: .*too short" "a library that is damaged"
DYE_BACKENDS=$work/empty run 0 0 --version
! grep -q libdye_ "$log" || die "a library that is not there"
checked "--version tells of GPU libraries, with or without a GPU"

run 78 5 train "${small[@]}" train.grains=4
said "at most 4" "more ranks than grains: the largest number is not told"
run 78 1 train "${small[@]}" train.batch=63
said "train.batch" "a batch that the grains do not divide"
checked "more ranks than grains: refused with the largest number"

run 0 2 train "${small[@]}"
run 78 2 train "${small[@]}" train.batch=32 train.seed=77
said "train.batch" "a changed fixed key is not listed"
said "train.seed" "the second changed fixed key is not listed"
run 0 2 train "${small[@]}" train.steps=420 log.every=10
checked "keys that fix the run may not change at a resume, others may"

# A second writer, while the first one works.
small+=(run.dir="$work/busy" train.steps=100000 checkpoint.every=1000000)
start 2 train "${small[@]}"
first=$job
wait_for 60 grep -q '"step"' "$work/busy/metrics.jsonl"
first_log=$log
log=$work/log2
run 69 1 train "${small[@]}"
said "$(hostname)|pid" "the holder is not named"
log=$first_log
is_running "$first" || die "the first writer has gone"
kill -USR1 "$first"
job=$first
finish 75
checked "a second writer is refused, the first one goes on"

run fail 0 verify "$work/nowhere"
run fail 0 verify "$work/empty"
run fail 0 sample "$work/empty" -n 1
run fail 0 eval "$work/empty"
run fail 0 compare "$work/empty" "$work/busy"
run fail 0 pack "$work/empty" -o "$work/packed"
[ ! -e "$work/packed" ] || die "a failed pack left its folder"
run fail 0 pack swiss-roll -o "$work/points"
run 0 0 pack swiss-roll -o "$work/points" --force
checked "verify, sample, eval, compare and pack refuse what is not theirs"

# As on a processor without AVX-512.
make_pictures
DNNL_MAX_CPU_ISA=AVX2 run 78 0 train "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" \
    run.dir="$work/half" model.precision=bf16 train.batch=8 train.grains=4
said "model.precision is bf16, which|it takes AVX-512"
checked "bf16 is refused with a reason where it cannot run"
