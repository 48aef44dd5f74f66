#!/usr/bin/env bash
# What people have becomes data sets: by any number of ranks, in spite of kills and bad files, and
# back; what it became trains.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Pictures of 20 x 16 in two classes, arrays, latents and a text, made without any library.
python3 - "$work" <<'END'
import os, random, struct, sys, zipfile, zlib
os.chdir(sys.argv[1])
noise = random.Random(1)
def png(width, height, pixels):
    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    rows = b"".join(b"\0" + pixels[y * width * 3:(y + 1) * width * 3] for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))
for name in ("cat", "dog"):
    os.makedirs(f"photos/{name}/more")
    for i in range(60):
        with open(f"photos/{name}/{'more/' if i % 3 == 0 else ''}{i}.png", "wb") as file:
            file.write(png(20, 16, noise.randbytes(20 * 16 * 3)))
def npy(path, descr, shape, data):
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head.encode() + data)
npy("latents.npy", "<f2", (400, 4, 8, 8), struct.pack("<102400e", *(noise.gauss(0, 1) for _ in range(102400))))
npy("decoder.npy", "<f4", (4, 48), struct.pack("<192f", *(noise.gauss(0, 0.3) for _ in range(192))))
npy("mean.npy", "<f4", "(48,)", bytes(4 * 48))
with zipfile.ZipFile("decoder.npz", "w") as archive:
    archive.write("decoder.npy"), archive.write("mean.npy")
# 300 MB of pictures that nothing compresses: five units.
with open("large.bin", "wb") as file:
    for i in range(100000):
        file.write(bytes([i % 10]) + noise.randbytes(3072))
with open("text.txt", "w") as file:
    file.write("".join(noise.choices("abcdefgh \n", k=50000)))
END
cd "$work" || die "no folder"

# ---- ranks, kills ----
run 0 0 pack --split train large.bin -o one --name set
said "packed large.bin into one in" "packing"
run 0 3 pack --split train large.bin -o three --name set
diff -r one three || die "three ranks pack other bytes than one"
[ -e one/train-image-00004.zst ] || die "there should be five units"
run 0 2 verify one
said "good: one" "verified by two ranks"
start 2 pack --split train large.bin -o killed --name set
wait_for 60 test -e killed.packing/records/unit-train-00001.json
mapfile -t pids < <(ranks_of "$job")
kill -9 "${pids[@]}"
wait_gone 20 "$job" "${pids[@]}"
[ ! -e killed ] || die "the pack was over before it was killed"
kept=$(stat -c %Y.%i killed.packing/train-image-00001.zst)
run fail 0 verify killed.packing
run 0 1 pack --split train large.bin -o killed --name set
diff -r one killed || die "a pack that was killed and resumed has other bytes"
same "$(stat -c %Y.%i killed/train-image-00001.zst)" "$kept" "a unit that was done before"
run 0 0 unpack one -o back --to cifar
cmp large.bin back/train.bin || die "large.bin does not come back"
rm -r one three killed back large.bin
run 2 0 pack text.txt -o few --split train
said "split train is about the sources behind it" "a split without a source"
checked "the same bytes from 1 and 3 ranks, and after a kill; and back"

# ---- pictures, bad files ----
printf 'no picture' >photos/dog/5.png
truncate -s 300 photos/cat/7.png
run 65 2 pack photos -o photos-set --size 8
said "not packed: photos/dog/5.png: " "a file that is none"
said "not packed: photos/cat/7.png: " "a file that ends early"
said "2 samples cannot be packed: mend them, or pack again with --skip-bad" "what to do"
[ ! -e photos-set ] || die "a data set without two samples"
run 0 2 pack photos -o photos-set --size 8 --skip-bad
run 0 0 inspect photos-set --item 3
said "split train: 106 items" "shares"
said "train item 3, label [01] (cat|dog)" "names of classes"
run 0 0 unpack photos-set -o pictures --to png
same "$(find pictures -name '*.png' | wc -l)" 118 "pictures"
run 2 0 pack photos -o levels --size 8 --skip-bad --colour rgb --levels 4
said "is for grey pictures of bytes" "levels of colours"
run 0 0 pack photos -o levels --size 8 --skip-bad --colour grey --levels 4 --shuffle none
run 0 0 pack photos -o greys --size 8 --skip-bad --colour grey --shuffle none
run 0 0 verify levels
run 0 0 unpack greys -o greys-back --to npy
run 0 0 unpack levels -o levels-back --to npy
bytes_of() { tail -c $((106 * 64)) "$1" | od -An -v -tu1 -w1 | awk "{print int(\$1 / $2)}"; } # behind its header
diff <(bytes_of levels-back/train-tokens.npy 1) <(bytes_of greys-back/train-image.npy 64) >/dev/null ||
    die "levels are not a quarter of the bytes' range each"
run 0 0 pack --split train pictures/train --split test pictures/test pictures/valid -o again --shuffle none
run 2 0 pack --split train latents.npy --split test photos -o mixed --size 8
said "photos is of kind image, but latents.npy of kind latent" "two kinds"
checked "pictures: bad files are listed, or left out; PNG and back"

# ---- text ----
run 0 0 pack text.txt -o text-set
run 0 0 unpack text-set -o text-back
cat text-back/train.txt text-back/valid.txt text-back/test.txt | cmp - text.txt || die "text.txt does not come back"
run 65 0 pack text.txt -o few --alphabet "abc"
said "text.txt: line [0-9]+ holds .* .byte 0x[0-9a-f]+., which is not in the alphabet" "another alphabet"
run 2 0 pack text.txt -o few --shuffle 3
said "the characters of a text cannot be shuffled" "a shuffled text"
checked "text: byte for byte"

# ---- latents and mixtures train ----
run 0 0 pack latents.npy -o latents --shuffle none --shares 50/0/50
run 0 0 unpack latents -o latents-back --split train
cmp <(tail -c +129 latents-back/train-latent.npy) <(tail -c +129 latents.npy | head -c 102400) || die "latents"
small=("$root/configs/fashion-mnist.yaml" model.width=16 model.depth=1 model.heads=2 model.patch=2
    train.steps=6 train.batch=16 train.grains=4 log.every=1 sample.every=0 eval.every=3 eval.samples=20
    device.threads=1)
for ranks in 0 2; do
    run 0 $ranks train "${small[@]}" data.path=latents run.dir="latents-$ranks"
    run 0 $ranks train "${small[@]}" data.path="photos-set, again" data.weights="2, 1" data.flip=true \
        data.crop=2 data.order=window data.window=1 data.threads=2 run.dir="mixed-$ranks"
    said "data: photos-set and 1 more, [0-9]+ samples, order in windows" "the mixture"
done
same "$(fingerprint latents-0)" "$(fingerprint latents-2)" "latents on 2 ranks"
for ranks in 0 2; do
    run 0 $ranks sample latents-0 -n 4 --decode decoder.npz -o decoded-$ranks.png
done
cmp decoded-0.png decoded-2.png || die "decoded latents differ on 2 ranks"
run fail 0 sample mixed-0 --decode decoder.npz
said "'decoder' must be" "a decoder of other latents"
same "$(fingerprint mixed-0)" "$(fingerprint mixed-2)" "a mixture on 2 ranks"
run 0 2 train "${small[@]}" data.path="photos-set, again" data.weights="2, 1" data.flip=true data.crop=2 \
    data.order=auto data.window=1 train.steps=8 run.dir=mixed-2
said "resumed from" "a run in windows, left to auto"
run 78 0 train "${small[@]}" data.path="photos-set, latents" run.dir=none
said "cannot be mixed: they have different kinds" "latents beside pictures"
checked "latents and a flipped mixture in windows train the same bits on 1 and 2 ranks"
