#!/usr/bin/env bash
# Sample i is the same however many are asked for; evaluation is the same for any number of ranks.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
run 0 2 train "${small[@]}" run.dir="$work/points-run"

run 0 0 sample "$work/points-run" -n 4 --seed 3 -o "$work/4.txt"
run 0 0 sample "$work/points-run" -n 8 --seed 3 -o "$work/8.txt"
run 0 0 sample "$work/points-run" -n 8 --seed 3 -o "$work/8b.txt"
run 0 0 sample "$work/points-run" -n 8 --seed 4 -o "$work/8c.txt"
cmp "$work/8.txt" "$work/8b.txt" || die "sampling twice gives other points"
head -n "$(wc -l <"$work/4.txt")" "$work/8.txt" | cmp - "$work/4.txt" ||
    die "the first 4 of 8 points are not the 4 points"
! cmp -s "$work/8.txt" "$work/8c.txt" || die "another seed gives the same points"
same "$(wc -l <"$work/8.txt")" 8 "lines for 8 points"
checked "points: 4 are the first of 8, again the same, another seed others"

# numbers FILE: the objects without what depends on time.
numbers() { sed 's/"[a-z_]*\(seconds\|per_s\|_s\)": *[^,}]*//g' "$1"; }

for ranks in 0 1 2 3; do
    run 0 $ranks eval "$work/points-run" --limit 100 --json
    grep '^{' "$log" >"$work/eval-$ranks"
    numbers "$work/eval-$ranks" | cmp - <(numbers "$work/eval-0") ||
        die "evaluation on $ranks ranks differs"
done
for key in bits_per_dim stderr count split step; do
    grep -q "\"$key\"" "$work/eval-0" || die "--json lacks \"$key\""
done
checked "evaluation of points: the same on 0, 1, 2, 3 ranks"

make_pictures
run 0 2 train "$root/configs/fashion-mnist.yaml" data.path="$work/pictures" run.dir="$work/clothes" \
    train.steps=30 train.batch=16 train.grains=8 optim.warmup=0 eval.every=0 sample.every=0
run 0 0 sample "$work/clothes" -n 4 --steps 5 --label 3 --guidance 4 -o "$work/a.png"
run 0 0 sample "$work/clothes" -n 4 --steps 5 --label 3 --guidance 4 -o "$work/b.png"
run 0 0 sample "$work/clothes" -n 4 --steps 5 --label 4 --guidance 4 -o "$work/c.png"
cmp "$work/a.png" "$work/b.png" || die "sampling twice gives other pictures"
! cmp -s "$work/a.png" "$work/c.png" || die "another label gives the same picture"
same "$(head -c 8 "$work/a.png" | od -An -tx1 | tr -d ' ')" 89504e470d0a1a0a "PNG signature"
run fail 0 sample "$work/clothes" -n 1 --label 10 -o "$work/d.png"
said "label" "a label that is not there"
run 0 2 eval "$work/clothes" --limit 8 --json
grep '^{' "$log" >"$work/clothes-2"
run 0 0 eval "$work/clothes" --limit 8 --json
grep '^{' "$log" >"$work/clothes-0"
numbers "$work/clothes-2" | cmp - <(numbers "$work/clothes-0") || die "evaluation differs"
grep -q bits_per_dim "$work/clothes-0" || die "evaluation of pictures lacks bits_per_dim"
checked "pictures: sampling repeats, labels matter; evaluation equal on 1 and 2 ranks"

for ranks in 0 2; do
    run 0 $ranks distance "$work/points-run" -n 100 --json
    grep '^{' "$log" | sed 's/, "sample_s".*//' >"$work/distance-$ranks"
done
cmp "$work/distance-0" "$work/distance-2" || die "the distance differs on 2 ranks"
for key in frechet precision recall floor evaluations; do
    grep -q "\"$key\"" "$work/distance-0" || die "--json lacks \"$key\""
done
run fail 0 distance "$work/points-run" -n 100000
said "takes twice as many held-out samples" "more than there are"
checked "distance of points: the same on 1 and 2 ranks"

run 0 2 train "$root/configs/fashion-mnist-classifier.yaml" data.path="$work/pictures" \
    run.dir="$work/classes" train.steps=60 train.batch=32 train.grains=8 model.width=32 model.heads=2 \
    model.depth=1 model.patch=7 optim.warmup=0 eval.every=0
for ranks in 0 3; do
    run 0 $ranks distance "$work/clothes" --features "$work/classes" -n 100 sampler.steps=3 --json
    grep '^{' "$log" | sed 's/"sample_s": [^,]*//' >"$work/pictures-$ranks"
done
cmp "$work/pictures-0" "$work/pictures-3" || die "the distance of pictures differs on 3 ranks"
run 0 0 distance "$work/clothes" --features "$work/classes" -n 100 sampler.steps=3 device.threads=1
said "not Inception's FID" "what the distance is not"
said "by 32 features of the classifier .*classes, step 60, weights [0-9a-f]{16}" "whose features"
frechet() { sed -n 's/.*Frechet distance \([0-9.]*\).*/\1/p' "$log"; }
near=$(sed -n 's/.*are \([0-9.]*\), .* apart/\1/p' "$log")
awk "BEGIN { exit !($(frechet) > 3 * $near && $near > 0) }" ||
    die "pictures of an untrained network are as near as real ones: $(frechet), $near"
run fail 0 distance "$work/clothes"
said "--features RUN" "pictures ask for a classifier"
run fail 0 distance "$work/clothes" --features "$work/clothes"
said "is no classifier" "another run has no features"
run fail 0 distance "$work/points-run" --features "$work/classes"
said "compared as they are" "points have no features"
run fail 0 distance "$work/clothes" --features "$work/classes" --decode "$work/classes"
said "is no autoencoder" "a classifier decodes nothing"
run fail 0 distance "$work/classes" --features "$work/classes"
said "draws nothing" "a classifier has no pictures"
mkdir "$work/small"
python3 - "$work/small" <<'PY' || die "no small pictures"
import struct, sys
for name, n in (("train", 40), ("t10k", 20)):
    with open(f"{sys.argv[1]}/{name}-images-idx3-ubyte", "wb") as file:
        file.write(struct.pack(">IIII", 0x803, n, 8, 8) + bytes(i * 37 % 256 for i in range(n * 64)))
    with open(f"{sys.argv[1]}/{name}-labels-idx1-ubyte", "wb") as file:
        file.write(struct.pack(">II", 0x801, n) + bytes(i % 3 for i in range(n)))
PY
run 0 0 pack "$work/small" -o "$work/small-packed"
run 0 0 train "$root/configs/fashion-mnist-classifier.yaml" data.path="$work/small-packed" \
    run.dir="$work/small-classes" train.steps=2 train.batch=8 train.grains=4 model.width=16 \
    model.heads=2 model.depth=1 model.patch=4 eval.every=0
run fail 0 distance "$work/clothes" --features "$work/small-classes" -n 10
said "has learned pictures of 1 x 8 x 8, but these are of 1 x 28 x 28" "another shape"
checked "distance of pictures: the same on 1 and 3 ranks"

# A film's last frame is what is drawn without one, its first the data.
run 0 2 film "$work/points-run" -n 20 --frames 3 -o "$work/film.png"
run 0 0 film "$work/points-run" -n 20 --frames 3 -o "$work/film-1.png"
cmp "$work/film.png" "$work/film-1.png" || die "the film of points differs on 2 ranks"
run 0 2 film "$work/clothes" -n 2 --frames 4 sampler.steps=6 -o "$work/film.png"
python3 - "$work/film.png" <<'PY' || die "the film of clothes has another size"
import struct, sys
head = open(sys.argv[1], "rb").read(24)
assert struct.unpack(">II", head[16:]) == (4 * (28 * 2 + 2) + 2, 4 * (28 * 2 + 2) + 2), head
PY
run fail 0 film "$work/clothes" -n 100000 -o "$work/film.png"
said "the split test has" "more rows than data"
checked "films: the same on 1 and 2 ranks, of the right size"

# The same pictures as a folder and as NPZ: packed, they are the same data set.
run 0 0 sample "$work/clothes" -n 12 --first 3 --steps 5 -o "$work/drawn/"
same "$(ls "$work/drawn" | paste -sd ' ')" "$(printf '%06d.png ' $(seq 3 14) | sed 's/ $//')" "pictures by their numbers"
run 0 2 sample "$work/clothes" -n 12 --first 3 --steps 5 -o "$work/drawn.npz"
run 0 0 pack --split train "$work/drawn/" -o "$work/set-folder" --name set --colour rgb --shuffle none
run 0 0 pack --split train "$work/drawn.npz" -o "$work/set-npz" --name set --image arr_0 --label arr_1 --shuffle none
cmp "$work"/set-{folder,npz}/train-image-00000.zst || die "NPZ and PNG hold other pictures"
run 0 0 inspect "$work/set-npz" --item 0
said "label 3" "the label of sample 3"
run fail 0 sample "$work/points-run" -n 2 -o "$work/points-drawn/"
said "is a folder, which is for pictures" "points as pictures"
run 0 0 sample "$work/points-run" -n 5 -o "$work/points.npz"
python3 - "$work/points.npz" <<'PY' || die "the NPZ of points"
import sys, zipfile
data = zipfile.ZipFile(sys.argv[1]).read("arr_0.npy")
assert data[:8] == b"\x93NUMPY\x01\x00" and b"'<f4'" in data[:128] and b"(5, 2)" in data[:128], data[:128]
assert len(data) == 128 + 5 * 2 * 4
PY
run fail 0 sample "$work/points-run" -n 5 -o "$work/nowhere/points.npz"
[ ! -e "$work/nowhere" ] || die "a folder out of nothing"
checked "samples as a folder of pictures and as NPZ"

# Animated: as many frames as were asked for in each direction, each whole.
run 0 2 film "$work/clothes" -n 4 --frames 3 --animated sampler.steps=6 -o "$work/moving.png"
run 0 0 film "$work/clothes" -n 4 --frames 3 --animated sampler.steps=6 -o "$work/moving-1.png"
cmp "$work/moving.png" "$work/moving-1.png" || die "the animation differs on 2 ranks"
run 0 0 film "$work/points-run" -n 50 --frames 2 --animated -o "$work/moving-points.png"
python3 - "$work/moving.png" 6 "$work/moving-points.png" 4 <<'PY' || die "the animation"
import struct, sys, zlib

def check(path, frames):
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, numbers, seen, parts, size = 8, [], 0, [], None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + length:at + 12 + length])[0], kind
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
        elif kind == b"acTL":
            assert struct.unpack(">II", body) == (frames, 0), body
        elif kind == b"fcTL":
            numbers.append(struct.unpack(">I", body[:4])[0])
            assert struct.unpack(">II", body[4:12]) == size
            parts.append(b"")
        elif kind == b"IDAT":
            parts[-1] += body
        elif kind == b"fdAT":
            numbers.append(struct.unpack(">I", body[:4])[0])
            parts[-1] += body[4:]
        at += 12 + length
    assert kind == b"IEND" and len(parts) == frames
    assert numbers == list(range(len(numbers))), numbers
    for part in parts: # a byte for the filter of each line, then grey points
        assert len(zlib.decompress(part)) == size[1] * (size[0] + 1)
    assert len(set(parts)) > frames // 2

check(sys.argv[1], int(sys.argv[2]))
check(sys.argv[3], int(sys.argv[4]))
PY
# The way from noise to samples alone: its last frame is what is drawn without frames.
run 0 2 sample "$work/clothes" -n 3 --first 2 --frames 3 --steps 4 -o "$work/way.npz"
run 0 0 sample "$work/clothes" -n 3 --first 2 --steps 4 -o "$work/end.npz"
python3 - "$work/way.npz" "$work/end.npz" <<'PY' || die "frames of the way"
import struct, sys, zipfile
way, end = (zipfile.ZipFile(path) for path in sys.argv[1:])
frames, pixels = way.read("arr_0.npy"), end.read("arr_0.npy")[128:]
assert b"(3, 3, 1, 28, 28)" in frames[:128] and b"'<f4'" in frames[:128], frames[:128]
numbers = struct.unpack(f"<{3 * 3 * 784}f", frames[128:])
last = [round(min(max((x + 1) * 127.5, 0), 255)) for x in numbers[2 * 3 * 784:]]
assert last == list(pixels[::3]), "the last frame"
first = numbers[:3 * 784]
assert 0.9 < sum(x * x for x in first) / len(first) < 1.1, "the first frame is no noise"
times = struct.unpack("<3f", way.read("arr_1.npy")[128:])
assert times[0] > times[1] > times[2] == 0, times
PY
run 0 0 sample "$work/clothes" -n 3 --frames 3 --steps 4 -o "$work/way.png"
run 0 0 sample "$work/points-run" -n 30 --frames 3
run fail 0 sample "$work/clothes" -n 3 --frames 3 --reconstruct
said "goes with none of" "frames of what is reconstructed"
checked "trajectories: NPZ and animated PNG"

# Samples need no data: the run knows what it has to of them.
mv "$work/pictures" "$work/pictures-away"
run 0 2 sample "$work/clothes" -n 12 --first 3 --steps 5 -o "$work/nodata.npz"
cmp "$work/drawn.npz" "$work/nodata.npz" || die "other samples without data"
run 0 0 export "$work/clothes" -o "$work/nodata.safetensors"
run 66 0 eval "$work/clothes"
said "$work/pictures" "the data that evaluation needs"
mv "$work/pictures-away" "$work/pictures"
cp -r "$work/clothes" "$work/clo,thes" # no two data sets
run 0 0 sample "$work/clo,thes" -n 12 --first 3 --steps 5 -o "$work/comma.npz"
cmp "$work/drawn.npz" "$work/comma.npz" || die "other samples of a run with a comma in its name"
run 0 0 pack swiss-roll -o "$work/more" --items 300 --seed 9 # what is kept is of the data that are trained on now
run 0 0 train "${small[@]}" run.dir="$work/mixed" data.path="$work/points, $work/more" train.steps=2
same "$(ls "$work/mixed/data" | paste -sd ' ')" "0 1" "indexes of two data sets"
run 0 0 train "${small[@]}" run.dir="$work/mixed" data.path="$work/more" train.steps=2 --fresh
same "$(ls "$work/mixed/data")" 0 "the index of one"
cmp "$work/more/index.json" "$work/mixed/data/0/index.json" || die "an index of other data"
checked "samples and weights of a run without its data"

# A part of a picture is given: the left half of a drawn one.
run 0 0 sample "$work/clothes" -n 1 --steps 4 -o "$work/one/"
python3 - "$work/mask.png" "$work/small.png" <<'PY'
import struct, sys, zlib

def write(path, side):
    lines = b"".join(b"\0" + bytes(255 * (x >= side // 2) for x in range(side)) for _ in range(side))
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)) +
                           chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))

write(sys.argv[1], 28)
write(sys.argv[2], 20)
PY
for ranks in 0 2; do
    run 0 $ranks sample "$work/clothes" -n 4 --first 9 --steps 4 --infill "$work/one/000000.png" --mask "$work/mask.png" \
        -o "$work/holes-$ranks.npz"
done
cmp "$work"/holes-{0,2}.npz || die "infilled pictures differ on 2 ranks"
run 0 0 sample "$work/clothes" -n 1 --steps 4 -o "$work/one.npz"
python3 - "$work/holes-0.npz" "$work/one.npz" <<'PY' || die "infilled pictures"
import sys, zipfile
drawn, one = (zipfile.ZipFile(path).read("arr_0.npy")[128::3] for path in sys.argv[1:])
pictures = [drawn[i * 784:(i + 1) * 784] for i in range(4)]
left = [y * 28 + x for y in range(28) for x in range(14)]
assert all(picture[i] == one[i] for picture in pictures for i in left), "what was given"
assert len({bytes(picture) for picture in pictures}) == 4, "four ways to go on"
PY
run 2 0 sample "$work/clothes" --infill "$work/one/000000.png"
said "and --mask" "a picture without a mask"
run 2 0 sample "$work/clothes" --infill "$work/one/000000.png" --mask "$work/small.png"
said "small.png is no picture of 28 x 28 pixels" "a mask of another size"
checked "pictures with holes"

run 0 0 pack heartbeat -o "$work/beats" --items 500
run 0 0 train "$root/configs/heartbeat.yaml" data.path="$work/beats" run.dir="$work/beats-run" train.steps=2 \
    train.batch=16 train.grains=4 model.width=16 process.steps=10 sample.every=0 eval.every=0
run fail 0 film "$work/beats-run" -n 2 --animated -o "$work/none.png"
said "is for pictures and points" "a film of bits"
checked "animated films"
