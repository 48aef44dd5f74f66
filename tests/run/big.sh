#!/usr/bin/env bash
# Ten gigabytes are packed by two ranks and read in shuffled order, in less than one of memory each.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
RUN_SECONDS=900

free=$(df --output=avail -B1 "$work" | tail -n 1)
[ "$free" -gt 12000000000 ] || skip "needs 12 GB of disk below $work"

# Pictures of 3 x 64 x 64: noise, then a hole that takes no room, over and over.
python3 - "$work/large.npy" <<'END'
import random, struct, sys
count, item = 830000, 3 * 64 * 64
head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, 3, 64, 64), }}"
head += " " * (63 - (10 + len(head)) % 64) + "\n"
noise = random.Random(1).randbytes(4 << 20)
with open(sys.argv[1], "wb") as file:
    file.write(b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head.encode())
    start = file.tell()
    for at in range(0, count * item - len(noise), 64 << 20):
        file.seek(start + at)
        file.write(noise)
    file.truncate(start + count * item)
END

# most_of PID...: the most memory in kB that one of these processes had resident, until they end.
most_of() {
    local pid now most=0
    while is_running "$1"; do
        for pid in "$@"; do
            now=$(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status" 2>/dev/null)
            [ "${now:-0}" -le "$most" ] || most=$now
        done
        sleep 0.2
    done
    echo "$most"
}

start 2 pack --split train "$work/large.npy" -o "$work/set" --shuffle none
until [ "$(ranks_of "$job" | wc -l)" -eq 2 ]; do sleep 0.1; done
mapfile -t pids < <(ranks_of "$job")
most=$(most_of "${pids[@]}")
finish 0
said "packed .* in " "packing"
packed=$(grep -o 'in [0-9.]* s' "$log")
[ "$most" -gt 0 ] && [ "$most" -lt 1000000 ] || die "a rank of the pack had $most kB resident"
checked "10.2 GB packed $packed, $((most / 1000)) MB of memory at most; $(du -sh "$work/set" | cut -f1) on disk"

run 0 0 bench "$work/set" --seconds 0 data.cache=256M train.batch=256 data.order=auto --json "$work/read.json"
resident=$(sed -n 's/.*"peak_bytes":\([0-9]*\).*/\1/p' "$work/read.json")
[ "$resident" -lt 1000000000 ] || die "reading had $resident bytes resident"
checked "read in windows: $(grep -o 'first epoch .*' "$log"), $((resident / 1000000)) MB of memory"
