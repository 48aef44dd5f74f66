#!/usr/bin/env bash
# Every diffusion system trains, goes on after a stop on other ranks to the same bits, samples, and is
# evaluated: on short runs of the shipped configurations.
#
#   systems.sh [--long]    --long: 1, 2, 3 and 4 ranks, and the configurations for pictures too
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

worlds="4" long= # of 12 grains each has three: a tree cut in the middle of its pairs
[ "${1:-}" != --long ] || worlds="2 3 4" long=1

# A run on one rank; then, for each world, half of it there and the rest on two ranks.
# trains NAME ARGUMENT...
trains() {
    local name=$1 world first
    shift
    set -- "$@" train.steps=24 checkpoint.every=12 eval.every=0 sample.every=0 log.every=1 \
        optim.warmup=0
    run 0 0 train "$@" run.dir="$work/$name"
    first=$(fingerprint "$work/$name")
    for world in $worlds; do
        run 0 "$world" train "$@" train.steps=24 run.dir="$work/$name-$world"
        same "$(fingerprint "$work/$name-$world")" "$first" "$name on $world ranks"
        rm -rf "$work/$name-$world/step-000000024"
        run 0 2 train "$@" run.dir="$work/$name-$world"
        said "resumed from .*step-0*12" "it goes on from step 12"
        same "$(fingerprint "$work/$name-$world")" "$first" "$name, resumed"
    done
}

# system NAME UNIT ARGUMENT...
system() {
    local name=$1 unit=$2
    trains "$name" "${@:3}"
    run 0 0 sample "$work/$name" -n 2 -o "$work/$name.out"
    [ -s "$work/$name.out" ] || die "$name draws nothing"
    run 0 2 eval "$work/$name" --limit 4 --json
    grep -q "\"$unit\": [0-9.-]*[0-9]," "$log" || die "$name is not evaluated in $unit"
    checked "$name: $(fingerprint "$work/$name") on 1 and $worlds ranks, and resumed on 2"
}

small_batch=(train.batch=24 train.grains=12)
make_points
system ddpm bits_per_dim "${small[@]}" "${small_batch[@]}"
for ranks in 0 2; do # to noise and back: pairs of points
    run 0 $ranks sample "$work/ddpm" --reconstruct -n 5 --steps 20 -o "$work/pairs-$ranks"
    said "in 20 steps: rms error 0\.[0-9]* of" "how far what comes back is"
done
same "$(wc -l <"$work/pairs-0")" 10 "lines of pairs"
cmp "$work/pairs-0" "$work/pairs-2" || die "reconstruction differs on 2 ranks"
system iddpm bits_per_dim "${small[@]}" "${small_batch[@]}" process.variance=learned-range \
    process.loss=hybrid
# An average of another width than those that were kept: as good as if it had been.
for width in 0.05 0.07; do
    run 0 2 train "${small[@]}" "${small_batch[@]}" run.dir="$work/power-$width" optim.warmup=0 \
        optim.ema_power=$width optim.ema_power_2=0.1 checkpoint.every=2 checkpoint.keep=50 \
        train.steps=40 eval.every=0 sample.every=0
done
bits() { sed -n 's/.*"bits_per_dim": \([0-9.-]*\),.*/\1/p' "$log"; }
run 0 0 eval "$work/power-0.05" --average 0.07 --json
mixed=$(bits)
run 0 0 eval "$work/power-0.07" --json
kept=$(bits)
run 0 0 eval "$work/power-0.05" --json
awk -v a="$mixed" -v b="$kept" -v c="$(bits)" 'BEGIN { d = a > b ? a - b : b - a; e = b > c ? b - c : c - b
    exit !(d < 0.001 && d < e / 5) }' || die "$mixed bits with a mixed average, $kept with the kept one, $(bits) with another"
checked "averages of any width after training"
run fail 0 sample "$work/ddpm" --average 0.07
said "this run kept none" "an average that cannot be mixed"

# Autoguidance: at 0 the guide alone draws, at 1 it is not asked, beyond it is.
draw() { run 0 "$1" sample "$work/power-0.05" -n 20 -o "$work/guided-$2" "${@:3}"; }
run 0 0 train "${small[@]}" "${small_batch[@]}" run.dir="$work/weak" model.width=16 train.steps=10 \
    eval.every=0 sample.every=0
run 0 0 sample "$work/weak" -n 20 -o "$work/guided-alone"
draw 0 by-0 --guide "$work/weak" --guidance 0
cmp "$work/guided-by-0" "$work/guided-alone" || die "a guide alone draws something else"
draw 0 none
draw 0 by-1 --guide "$work/weak" --guidance 1
cmp "$work/guided-by-1" "$work/guided-none" || die "a guide that is not asked changes something"
draw 0 by-2 --guide "$work/weak" --guidance 2
draw 2 by-2-again --guide "$work/weak" --guidance 2
cmp "$work/guided-by-2" "$work/guided-by-2-again" || die "guidance differs on 2 ranks"
same "$(cat "$work"/guided-{alone,none,by-2} | sort -u | wc -l)" 60 "points, each drawn in one way"
run fail 0 sample "$work/ddpm" --guide "$work/gaussian"
said "is not there: is .* a run folder" "a guide that is no run"
run 0 0 train "${small[@]}" "${small_batch[@]}" run.dir="$work/other" process.head=x0 train.steps=2 \
    eval.every=0 sample.every=0
run fail 2 sample "$work/ddpm" --guide "$work/other"
said "means something else" "a guide of another process"
run fail 0 sample "$work/weak" --guide "$work/ddpm"
said "a guide is the weaker model" "a guide that is larger"
checked "autoguidance"

# Few times, so that what the law of times has learned matters at the stop.
system vlb bits_per_dim "${small[@]}" "${small_batch[@]}" process.steps=4 process.loss=vlb \
    process.variance=learned-range process.times=second-moment
system gaussian2015 bits_per_dim "$root/configs/swiss-roll-2015.yaml" data.path="$work/points" \
    "${small_batch[@]}" model.width=32
grep -q '"null"' "$log" || die "the null model is not told"

system score-sde bits_per_dim "$root/configs/swiss-roll-score-sde.yaml" data.path="$work/points" \
    "${small_batch[@]}" model.width=32
run 0 2 eval "$work/score-sde" --limit 40 --flow 5 --json
grep -o '"bits_per_dim": [^,]*' "$log" >"$work/flow-2"
run 0 0 eval "$work/score-sde" --limit 40 --flow 5 --json
grep -o '"bits_per_dim": [^,]*' "$log" | cmp - "$work/flow-2" || die "the flow differs on 2 ranks"
for schedule in ve ${long:+sub-vp}; do
    system "score-sde $schedule" bits_per_dim "$root/configs/swiss-roll-score-sde.yaml" \
        data.path="$work/points" "${small_batch[@]}" model.width=32 process.schedule=$schedule \
        sampler.solver=heun sampler.steps=9
done
for name in flow edm; do
    system "$name of points" bits_per_dim "$root/configs/swiss-roll-score-sde.yaml" data.path="$work/points" \
        "${small_batch[@]}" model.width=32 process.name=$name process.schedule=auto \
        sampler.solver=dpm-2m sampler.steps=9
done
system consistency loss "$root/configs/swiss-roll-score-sde.yaml" data.path="$work/points" \
    "${small_batch[@]}" model.width=32 process.name=consistency process.schedule=auto \
    sampler.solver=auto sampler.steps=2
run 0 0 eval "$work/consistency" --limit 4
said "^loss [0-9.]* a dimension" "the loss"
run fail 0 eval "$work/consistency" --limit 4 --flow 5
said "has no probability flow" "what a pair of levels has not"
run 0 0 eval "$work/consistency" --limit 4
said "no likelihood" "that there is none"
for loss in continuous ${long:+discrete}; do
    system "vdm $loss" bits_per_dim "$root/configs/swiss-roll-score-sde.yaml" \
        data.path="$work/points" "${small_batch[@]}" model.width=32 process.name=vdm \
        process.schedule=linear process.loss=$loss model.fourier=true sampler.solver=ddpm \
        sampler.steps=9
done
for schedule in ${long:+scalar} net; do
    system "vdm $schedule" bits_per_dim "$root/configs/swiss-roll-score-sde.yaml" \
        data.path="$work/points" "${small_batch[@]}" model.width=32 process.name=vdm \
        process.schedule=$schedule sampler.solver=ddpm sampler.steps=9
done
run fail 0 eval "$work/ddpm" --limit 4 --flow 5
said "no probability flow" "discrete time has none"

system variational-sde bits_per_dim "$root/configs/swiss-roll-variational.yaml" \
    data.path="$work/points" "${small_batch[@]}" model.width=32 sampler.lambda=0.5
run 0 2 eval "$work/variational-sde" --limit 40 --elbo 3 --json
grep -o '"bits_per_dim": [^,]*' "$log" >"$work/elbo-2"
run 0 0 eval "$work/variational-sde" --limit 40 --elbo 3 --json
grep -o '"bits_per_dim": [^,]*' "$log" | cmp - "$work/elbo-2" || die "the ELBO differs on 2 ranks"
run fail 0 eval "$work/score-sde" --limit 4 --elbo 3
said "has no ELBO" "it is of variational-sde"
run fail 0 sample "$work/variational-sde" sampler.solver=heun -n 2 -o "$work/none"
said "sampler.solver: em" "lambda is of em"

run 0 0 pack heartbeat -o "$work/heartbeat"
system binomial bits_per_token "$root/configs/heartbeat.yaml" data.path="$work/heartbeat" \
    "${small_batch[@]}" process.steps=40
grep -q '"null"' "$log" || die "the null model is not told"

vq=("$root/configs/fashion-mnist-vq.yaml" data.path="$work/heartbeat" "${small_batch[@]}"
    model.width=32 model.depth=1 model.heads=2 process.steps=4 sampler.steps=4)
system vq bits_per_token "${vq[@]}"
[ -z "$long" ] || system "vq paper" bits_per_token "${vq[@]}" process.schedule=paper process.times=uniform \
    sampler.solver=purity sampler.purity=2 sampler.truncation=0.86 sampler.steps=3

system "d3pm gaussian" bits_per_token "$root/configs/fashion-mnist-d3pm.yaml" data.path="$work/heartbeat" \
    "${small_batch[@]}" model.width=32 model.depth=1 model.heads=2 model.patch=2 process.steps=40 sampler.steps=10

if [ -e /usr/lib/bible.data ]; then
    run 0 0 pack /usr/lib/bible.data -o "$work/bible"
    system multinomial bits_per_token "$root/configs/kjv.yaml" data.path="$work/bible" \
        "${small_batch[@]}" model.width=32 model.depth=1 data.length=16 process.steps=4 \
        process.times=importance
    system sundae cross_entropy "$root/configs/kjv-sundae.yaml" data.path="$work/bible" \
        "${small_batch[@]}" model.width=32 model.depth=1 data.length=16 process.unroll=3
    ! grep -q 'bits' "$log" || die "sundae tells of bits"
    run 0 0 eval "$work/sundae" --limit 4
    said "by pass: [0-9.]* [0-9.]* [0-9.]* " "each of three passes"
    said "no likelihood" "that there is none"
    run 0 0 sample "$work/sundae" -n 2 --solver argmax --steps 5 -o "$work/sundae.argmax"
    ! cmp -s "$work/sundae.argmax" "$work/sundae.out" || die "argmax draws what fraction does"
    run 0 2 sample "$work/sundae" -n 2 --candidates 3 -o "$work/sundae.chosen"
    run 0 0 sample "$work/sundae" -n 6 -o "$work/sundae.drawn"
    same "$(grep -cxFf "$work/sundae.drawn" "$work/sundae.chosen")" 2 "chosen lines among those drawn"
    run fail 0 sample "$work/multinomial" --candidates 3
    said "which is for sundae alone" "candidates of another system"

    letters=(data.path="$work/bible" "${small_batch[@]}" model.width=32 model.depth=1 data.length=16
        sampler.steps=4)
    system mdlm bits_per_token "$root/configs/kjv-mdlm.yaml" "${letters[@]}"
    for ranks in 0 2; do # what is given stays, the same on any number of ranks
        run 0 $ranks sample "$work/mdlm" -n 5 --infill "and _od ___d" --solver remask \
            -o "$work/infill-$ranks" sampler.block=4
    done
    same "$(grep -c '^and .od ...d' "$work/infill-0")" 5 "lines with what was given"
    cmp "$work/infill-0" "$work/infill-2" || die "infilling differs on 2 ranks"
    run fail 0 sample "$work/mdlm" --infill "And _od"
    said "no 'A' .character 1" "the letter that the alphabet lacks"
    for ranks in 0 2; do # without masks: held at each time
        run 0 $ranks sample "$work/multinomial" -n 5 --infill "and _od" -o "$work/held-$ranks"
    done
    same "$(grep -c '^and .od' "$work/held-0")" 5 "lines with what was held"
    cmp "$work/held-0" "$work/held-2" || die "held letters differ on 2 ranks"
    run fail 0 sample "$work/mdlm" --reconstruct
    said "is for systems of numbers" "reconstruction of symbols"
    blocks=("$root/configs/kjv-block.yaml" "${letters[@]}" model.heads=2 process.block=4)
    system "mdlm of blocks" bits_per_token "${blocks[@]}"
    for ranks in 0 2; do # longer than the window of 16 letters
        run 0 $ranks sample "$work/mdlm of blocks" -n 5 --length 50 --infill "in the " \
            -o "$work/long-$ranks"
    done
    same "$(grep -c '^in the .\{43\}$' "$work/long-0")" 5 "lines of 50 letters"
    same "$(sort -u "$work/long-0" | wc -l)" 5 "different lines"
    cmp "$work/long-0" "$work/long-2" || die "long text differs on 2 ranks"
    run 0 0 sample "$work/mdlm of blocks" -n 1 --first 3 --length 50 --infill "in the " -o "$work/long-3"
    same "$(cat "$work/long-3")" "$(sed -n 4p "$work/long-0")" "sample 3, drawn alone"
    run 0 0 sample "$work/mdlm of blocks" -n 3 --length 50 -o "$work/long.npz"
    python3 -c 'import sys, zipfile; d = zipfile.ZipFile(sys.argv[1]).read("arr_0.npy")
assert b"(3, 50)" in d[:128] and len(d) == 128 + 4 * 150' "$work/long.npz" || die "long text as NPZ"
    run fail 0 sample "$work/mdlm" --length 50
    said "is for text that is drawn in blocks" "a system without blocks"
    run fail 0 train "${blocks[@]}" run.dir="$work/none" process.block=6
    said "must divide data.length 16" "a block that does not fit"
    [ -z "$long" ] || for name in sedd d3pm discrete-flow; do
        system $name bits_per_token "$root/configs/kjv-$name.yaml" "${letters[@]}" process.steps=20
    done
    run fail 0 train "$root/configs/kjv-d3pm.yaml" "${letters[@]}" run.dir="$work/none" \
        process.schedule=gaussian sampler.solver=remask
    said "which is for masks" "remasking without masks"
    [ -z "$long" ] || for schedule in "sedd uniform" "discrete-flow absorbing"; do
        system "$schedule" bits_per_token "$root/configs/kjv-${schedule% *}.yaml" "${letters[@]}" \
            process.schedule=${schedule#* }
    done
else
    echo "skip multinomial, sundae and masks: Debian's bible-kjv-text is not installed"
fi

# Pictures become codes, the same bytes on any number of threads; what is drawn on codes becomes
# pictures.
if [ -d /usr/share/datasets/fashion-mnist ]; then
    make_pictures
    trains autoencoder "$root/configs/fashion-mnist-tokens.yaml" data.path="$work/pictures" \
        model.width=32 model.depth=1 "${small_batch[@]}"
    checked "autoencoder: $(fingerprint "$work/autoencoder") on 1 and $worlds ranks, and resumed on 2"
    run 0 2 eval "$work/autoencoder" --limit 4 --json
    grep -q '"bits_per_dim": [0-9]' "$log" || die "the autoencoder is not evaluated"
    run fail 0 sample "$work/autoencoder"
    said "draws nothing by itself" "an autoencoder says how to draw"
    run fail 0 film "$work/autoencoder" -o "$work/film.png"
    said "draws nothing by itself" "nor does it emerge from noise"
    run fail 0 train "$root/configs/fashion-mnist-tokens.yaml" data.path="$work/pictures" \
        run.dir="$work/drawing" sample.every=5
    said "set sample.every to 0" "samples of an autoencoder in training"
    for threads in 1 3; do
        run 0 0 encode "$work/autoencoder" "$work/pictures" -o "$work/codes-$threads" --name codes \
            device.threads=$threads
        run 0 0 verify "$work/codes-$threads"
    done
    diff -r "$work/codes-1" "$work/codes-3" || die "codes depend on the number of threads"
    run 0 0 inspect "$work/codes-1" --split test --item 3
    said "label" "codes keep their labels"
    system codes bits_per_token "$root/configs/fashion-mnist-vq.yaml" data.path="$work/codes-1" \
        "${small_batch[@]}" model.width=32 model.heads=4 model.depth=1 process.steps=4 \
        sampler.steps=0
    # Guidance at all times, in an interval, and not at all.
    run 0 0 sample "$work/codes" -n 8 --guidance 90 -o "$work/guided-all.png"
    run 0 0 sample "$work/codes" -n 8 --guidance 90 sampler.guide_to=0.5 -o "$work/guided-half.png"
    run 0 0 sample "$work/codes" -n 8 --guidance 1 -o "$work/guided-none.png"
    same "$(md5sum "$work"/guided-*.png | cut -c1-32 | sort -u | wc -l)" 3 "ways to be guided"
    run fail 0 sample "$work/codes" -n 2 --length 20 -o "$work/none.png"
    said "is drawn as pictures of one size" "a picture of another length"
    run 0 2 sample "$work/codes" -n 20 -o "$work/pictures-2.png" --decode "$work/autoencoder"
    run 0 0 sample "$work/codes" -n 20 -o "$work/pictures-1.png" --decode "$work/autoencoder"
    cmp "$work/pictures-1.png" "$work/pictures-2.png" || die "decoded pictures differ on 2 ranks"
    run fail 0 sample "$work/ddpm" --decode "$work/autoencoder"
    said "is not what .* draws" "points are no codes"
    checked "autoencoder: encodes, and decodes what is drawn"

    classifier=("$root/configs/fashion-mnist-classifier.yaml" data.path="$work/pictures" model.width=32
        model.heads=2 model.depth=1 "${small_batch[@]}")
    trains classifier "${classifier[@]}"
    checked "classifier: $(fingerprint "$work/classifier") on 1 and $worlds ranks, and resumed on 2"
    for ranks in 0 2; do
        run 0 $ranks eval "$work/classifier" --json
        grep -o '"cross_entropy": .*' "$log" >"$work/classes-$ranks"
        run 0 $ranks distance "$work/codes" --features "$work/classifier" \
            --decode "$work/autoencoder" -n 150 --json
        grep -o '"frechet": .*' "$log" | sed 's/"sample_s": [^,]*//' >"$work/distance-$ranks"
    done
    cmp "$work/classes-0" "$work/classes-2" || die "the accuracy differs on 2 ranks"
    grep -q '"accuracy": 0\.[0-9]*, "stderr": 0\.0[12]' "$work/classes-0" || die "no accuracy is told"
    cmp "$work/distance-0" "$work/distance-2" || die "the distance of pictures differs on 2 ranks"
    grep -q '"features": {.*"fingerprint": "[0-9a-f]\{16\}"' "$work/distance-0" ||
        die "the distance does not tell its classifier"
    run 0 0 eval "$work/classifier" --limit 40
    said "accuracy 0\.[0-9]* \+- .* \(40 samples" "the accuracy"
    said "no likelihood" "that there is none"
    run fail 0 eval "$work/classifier" --flow 5
    said "no probability flow" "a classifier has none"
    run fail 0 sample "$work/classifier"
    said "a classifier draws nothing" "a classifier says who draws"
    run fail 0 train "${classifier[@]}" run.dir="$work/drawing" sample.every=5
    said "set sample.every to 0" "samples of a classifier in training"
    run fail 0 train "${classifier[@]}" run.dir="$work/drawing" process.label_drop=0.1
    said "learns from each label" "labels that are dropped"
    run fail 0 train "${classifier[@]}" run.dir="$work/drawing" data.path="$work/points" \
        model.family=mlp
    said "have 0 classes" "data without labels"
    checked "classifier: evaluated; measures what is drawn, the same on 1 and 2 ranks"
else
    echo "skip autoencoder: Debian's dataset-fashion-mnist is not installed"
fi

if [ -n "$long" ]; then
    for name in fashion-mnist-2015 fashion-mnist-iddpm fashion-mnist-score-sde \
        fashion-mnist-variational fashion-mnist-vdm fashion-mnist-flow fashion-mnist-edm; do
        system "$name" bits_per_dim "$root/configs/$name.yaml" data.path="$work/pictures" \
            train.batch=12 train.grains=12 sampler.solver=ddim sampler.steps=5
    done
    if [ -e /usr/share/unifont/unifont.hex ]; then
        run 0 0 pack /usr/share/unifont/unifont.hex -o "$work/unifont"
        system unifont bits_per_token "$root/configs/unifont.yaml" data.path="$work/unifont" \
            train.batch=12 train.grains=12 process.steps=20
    else
        echo "skip unifont: Debian's unifont is not installed"
    fi
fi

# A law that has learned nothing draws other times.
run 0 0 train "${small[@]}" "${small_batch[@]}" process.steps=4 process.loss=vlb \
    process.variance=learned-range train.steps=24 log.every=1 optim.warmup=0 \
    run.dir="$work/uniform"
[ "$(fingerprint "$work/uniform")" != "$(fingerprint "$work/vlb")" ] ||
    die "the law of times makes no difference"
checked "times that were learned differ from uniform ones"
