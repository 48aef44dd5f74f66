#!/usr/bin/env bash
# Ranks on several hosts, as far as they can tell: each has a host name of its own. Gradients are then
# summed on each host first; the bits stay those of one rank. With libdye_cuda.so in DYE_BACKENDS also
# between (emulated) GPUs, whose buckets set out while the backward pass goes on, and whose weights
# arrive while the next forward pass does.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

unshare --uts true 2>"$log" || skip "this user may not give a process another host name"

make_pictures

# Rank R runs on the R-th host of $HOSTS.
cat >"$work/on_host" <<'END'
#!/bin/bash
read -r -a hosts <<<"$HOSTS"
exec unshare --uts bash -c 'hostname "$1" && exec "${@:2}"' - "${hosts[${OMPI_COMM_WORLD_RANK:-0}]}" "$DYE" "$@"
END
chmod +x "$work/on_host"
export DYE=$dye
dye=$work/on_host

# same_bits NAME HOSTS SENTENCE ARGUMENT...: as the first run of that name.
same_bits() {
    local name=$1 sentence=$3
    export HOSTS=$2
    shift 3
    run 0 "$(wc -w <<<"$HOSTS")" train "$@" run.dir="$work/run"
    [ -z "$sentence" ] || said "$sentence" "how gradients travel between: $HOSTS"
    [ -n "$sentence" ] || ! grep -E "each host first|each to each" "$log" || die "groups on: $HOSTS"
    [ -e "$work/$name.curve" ] || curve "$work/run" >"$work/$name.curve"
    curve "$work/run" | diff "$work/$name.curve" - || die "$name: other bits on: $HOSTS"
    rm -r "$work/run"
}

groups() {
    local name=$1
    shift
    same_bits "$name" "a" "" "$@"
    same_bits "$name" "a a b b" "summed by the 2 ranks of each host first, then between the 2 hosts" "$@"
    same_bits "$name" "a a b b c c" "summed by the 2 ranks of each host first, then between the 3 hosts" "$@"
    same_bits "$name" "a b a b" "each rank sends gradients to each other: were all hosts" "$@"
    same_bits "$name" "a b c" "" "$@"
    checked "$name: one curve on one host, in groups of two, dealt out in turn, alone on three hosts"
}

short=(train.batch=16 train.grains=8 train.steps=3 log.every=1 log.fingerprint_every=1 eval.every=0
    sample.every=0 optim.lr=0.01 optim.warmup=0 model.width=128 model.depth=4 model.heads=2 optim.bucket=1MiB)
groups cpu "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" "${short[@]}" model.patch=7

[ -e "${DYE_BACKENDS:-$(dirname "$DYE")}/libdye_nccl.so" ] || exit 0
gpu=("$root/configs/fashion-mnist.yaml" data.path="$work/pictures" "${short[@]}" model.patch=7
    model.precision=bf16 device.backend=cuda train.steps=5 log.fingerprint_every=5 eval.every=2 eval.samples=16)
same_bits gpu "a" "" "${gpu[@]}"
export DYE_EMULATED_TRACE=$work/trace
same_bits gpu "a a b b" "by the 2 ranks of each host first" "${gpu[@]}" device.exchange=nccl
# Ranks of one grain and of two, which then have one stream and two.
uneven=("${gpu[@]}" train.batch=12 train.grains=6 device.threads=2)
DYE_EMULATED_TRACE='' same_bits uneven "a" "" "${uneven[@]}"
DYE_EMULATED_TRACE='' same_bits uneven "a a b b" "each host first" "${uneven[@]}" device.exchange=nccl
[ -n "${DYE_EMULATED_GPUS:-}" ] || exit 0
unset DYE_EMULATED_TRACE
# Of each step's buckets, and its board, all but a few have kernels between them and the exchange before.
buckets=$(awk 'NR > 1 && $1 > last + 5 { ++n } { last = $1 } END { print n + 0 }' "$work/trace")
[ "$buckets" -gt 43 ] ||
    die "only $buckets buckets have kernels before them: they wait for the end of a forward or backward pass"
run 0 4 train "${gpu[@]}" device.exchange=nccl-sum run.dir="$work/loose"
said "another number of ranks gives other bits" "sums of NCCL"
! curve "$work/loose" | diff -q "$work/gpu.curve" - >"$log" || die "NCCL's sums are the tree's"
checked "gpu: one curve on one GPU and on four of two hosts by NCCL; $buckets buckets travelled in the midst of a pass"
