#!/usr/bin/env bash
# Data on one host alone: the others get what they need of it from there, keep it in a cache of
# their own, and train the same bits; a warm cache asks for nothing, a damaged one is mended. /tmp is
# each host's own.
# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"
command -v python3 >/dev/null || skip "python3 is missing"

lab_up 3
# 4000 small pictures of noise, which nothing compresses: four groups, 1 MB.
python3 - "$shared/idx" <<'EOP'
import os, random, struct, sys
noise = random.Random(1)
os.mkdir(sys.argv[1])
for name, count in (("train", 4000), ("t10k", 100)):
    part = f"{sys.argv[1]}/{name}"
    with open(part + "-images-idx3-ubyte", "wb") as file:
        file.write(struct.pack(">IIII", 0x803, count, 16, 16) + noise.randbytes(count * 256))
    with open(part + "-labels-idx1-ubyte", "wb") as file:
        file.write(struct.pack(">II", 0x801, count) + bytes(noise.choices(range(10), k=count)))
EOP
cp "$root/configs/fashion-mnist.yaml" "$shared/pictures.yaml"
on n1 0 ./dye pack idx -o /tmp/pictures
on n1 0 cp -r /tmp/pictures everywhere
keys=(pictures.yaml model.width=16 model.depth=1 model.heads=2 model.patch=8 train.steps=120
    train.batch=64 train.grains=8 checkpoint.every=60 log.every=20 eval.every=60 eval.samples=50
    sample.every=0 device.threads=1)
mpirun_on "n1 n2 n3" 4
# share RUN ARGUMENT...: trains; $blocks and $megabytes are what was fetched.
share() {
    local run=$1
    shift
    on n1 0 "${launch[@]}" ./dye train "${keys[@]}" run.dir="$run" data.path=/tmp/pictures "$@"
    said "^finished" "$run"
    served='s/^share: served \([0-9]*\) blocks, \([0-9.]*\) MB$/\1 \2/p'
    read -r blocks megabytes < <(sed -n "$served" "$log")
    [ -n "${megabytes:-}" ] || die "$run: nothing tells what was served"
    same "$(fingerprint "$shared/$run")" "$expected" "$run"
    curve "$shared/$run" | diff "$work/curve" - || die "$run trains otherwise"
}
cached() { # HOST [FOLDER]: bytes of the disk that its cache takes
    bash "$lab_script" exec "$1" du -s --block-size=1 "${2:-/tmp/dye-cache-0}" | cut -f 1
}

on n1 0 "${launch[@]}" ./dye train "${keys[@]}" run.dir=all data.path=everywhere
! grep -q '^share: ' "$log" || die "all have the data, and yet something was shared"
expected=$(fingerprint "$shared/all")
curve "$shared/all" >"$work/curve"
checked "the data everywhere: $expected"

on n1 0 "${launch[@]}" ./dye doctor "${keys[@]}" data.path=/tmp/pictures --seconds 0
said "^ok    data +on n1; served to n2, n3$" "doctor"
on n1 66 "${launch[@]}" ./dye train "${keys[@]}" run.dir=no data.path=/tmp/pictures data.share=false
said "rank.* on n2, rank.* on n3: /tmp/pictures: .*rank 0 on n1 has it: copy the folder to all" "where"
said "hosts, or set data.share to true" "data.share=false"
on n1 66 "${launch[@]}" ./dye train "${keys[@]}" run.dir=no data.path=/tmp/nowhere
said "/tmp/nowhere: there is no dataset here" "data that nobody has"
checked "doctor says who serves whom; data.share=false, and data that nobody has: refused"

share cold
[ "$blocks" -ge 8 ] || die "only $blocks blocks were served to two hosts"
for host in n2 n3; do [ "$(cached $host)" -gt 900000 ] || die "the cache of $host is empty"; done
on n1 0 bash -c '[ ! -e /tmp/dye-cache-0 ]'
checked "the data on n1 alone: the same fingerprint; $blocks blocks, $megabytes MB were served"

on n1 0 "${launch[@]}" ./dye eval all --limit 60 --json
grep '"bits_per_dim"' "$log" >"$work/eval" || die "no numbers of an evaluation"
on n1 0 "${launch[@]}" ./dye eval cold --limit 60 --json
grep '"bits_per_dim"' "$log" | diff "$work/eval" - || die "the data on n1 alone evaluate otherwise"
checked "evaluation: the same numbers, with the data on n1 alone"

share warm
[ "${megabytes%.*}" -eq 0 ] || die "$megabytes MB were served to a warm cache"
checked "a warm cache: $blocks blocks, $megabytes MB"

# Other bytes in every copy on n2; n3 has lost all.
on n2 0 bash -c 'for file in /tmp/dye-cache-0/*/*.zst; do
    dd if=/dev/zero of="$file" bs=64 seek=1 count=1 conv=notrunc status=none; done'
on n3 0 rm -r /tmp/dye-cache-0
share damaged
[ "${megabytes%.*}" -ge 1 ] || die "only $megabytes MB were served to a cache without files"
checked "a damaged cache and a missing one: the same fingerprint; $blocks blocks, $megabytes MB"

# Hosts that cannot keep what they got: it is asked for again.
on n3 0 bash -c 'mkdir /tmp/little && mount -t tmpfs -o size=100k little /tmp/little'
share full data.cache=600K data.cache_dir=/tmp/little data.cache_limit=600K
said "/tmp/little: copies of shards cannot be kept" "a full disk"
[ "$(cached n2 /tmp/little)" -lt 700000 ] || die "the cache of n2 is larger than its limit"
checked "a full disk, and a small limit: the same fingerprint; $blocks blocks, $megabytes MB"

# Two data sets that are mixed, on a host each.
on n1 0 ./dye pack idx -o more --limit 1000
on n2 0 cp -r more /tmp/more
on n1 0 ./dye train "${keys[@]}" run.dir=mixed data.path="everywhere, more"
alone=$expected
expected=$(fingerprint "$shared/mixed")
curve "$shared/mixed" >"$work/curve"
share mixed-apart data.path="/tmp/pictures, /tmp/more"
checked "two data sets on two hosts: $expected; $blocks blocks, $megabytes MB"
expected=$alone
curve "$shared/all" >"$work/curve"

# Part of a copy on n2: what is missing there is served.
on n2 0 cp -r everywhere /tmp/pictures
on n2 0 rm -r /tmp/pictures/train-image-00000.zst /tmp/dye-cache-0
share part
on n2 0 rm -r /tmp/pictures
checked "part of a copy on another host: the same fingerprint; $blocks blocks, $megabytes MB"

# Rank 0 need not be the one who has it, and two may.
on n3 0 cp -r everywhere /tmp/pictures
on n2 0 rm -r /tmp/dye-cache-0
on n1 0 mv /tmp/pictures /tmp/away
on n1 0 "${launch[@]}" ./dye doctor "${keys[@]}" data.path=/tmp/pictures --seconds 0
said "^ok    data +on n3; served to n1, n2$" "doctor, n3"
share other control.port=6000
on n1 0 mv /tmp/away /tmp/pictures
on n1 0 dd if=/dev/zero of=/tmp/pictures/train-image-00000.zst bs=1 seek=100000 count=64 \
    conv=notrunc status=none
share mended
[ "$blocks" -ge 1 ] || die "what is damaged on n1 was not served by n3"
checked "damaged on one host, whole on another one: the same fingerprint; $blocks blocks"
on n2 0 ./dye pack idx -o /tmp/pictures --limit 3000
on n1 78 "${launch[@]}" ./dye train "${keys[@]}" run.dir=no data.path=/tmp/pictures
said "rank.* on n2 reads? another data set .*copy the same folder" "another data set"
on n1 78 "${launch[@]}" ./dye eval cold --limit 60
said "another data set than that of rank 0" "another data set, evaluated"
checked "another host has the data: the same fingerprint; another data set: refused"
