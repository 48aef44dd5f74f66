#!/usr/bin/env bash
# Runs after training: listed, compared by their keys, cleaned of old checkpoints, never of the last good one.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_points
cd "$work" || exit 1
train() { run 0 0 train "${small[@]}" run.dir="runs/$1" train.steps=12 checkpoint.every=3 checkpoint.keep=9 "${@:2}"; }

run fail 0 ls
said "runs" "that there is no such folder"
mkdir -p runs/empty
run 0 0 ls
said "^no runs there$" "no runs"
train deep/a eval.every=6 sample.every=0
train b optim.lr=1e-3 eval.every=0 sample.every=0
echo '{"step": 13, "lo' >>runs/b/metrics.jsonl # a line that is being written
run 0 0 ls
said "^runs/b +ddpm +ended +12/12 +[0-9.]+ +- .* 4 +[0-9.]+ MB$" "a run without held-out losses"
said "^runs/deep/a +ddpm +ended +12/12 +[0-9.]+ +[0-9.]+ at (6|12) .* 4 +[0-9.]+ MB$" "a run further down"
same "$(wc -l <"$log")" 3 "lines"
run 0 0 ls runs/deep/a --json
said '"held_out_step": (6|12)' "the step of the best loss"
said '"bytes": [1-9][0-9]+' "the size"
sed -i 's/^process:/prozess:/' runs/deep/a/config.yaml
run 0 0 ls
said "^runs/deep/a +\? " "a run whose configuration is of another world"
sed -i 's/^prozess:/process:/' runs/deep/a/config.yaml
checked "runs are listed"

run 0 0 diff runs/deep/a runs/b
said "^optim.lr +[0-9.e-]+ +0.001$" "the key that differs"
said "^run.dir +runs/deep/a +runs/b$" "where they are"
! grep -q "train.steps" "$log" || die "a key that does not differ"
run 0 0 diff runs/b runs/b/config.yaml
said "^the same configuration$" "that they are equal"
run 0 0 diff runs/deep/a runs/b --json
python3 -c 'import json, sys; assert json.load(open(sys.argv[1]))["optim.lr"][1] == "0.001"' "$log" || die "no JSON"
run 66 0 diff runs/b runs/none
said "neither a run folder nor a configuration" "what is missing"
checked "runs are compared by their keys"

run 0 0 clean runs/b --keep 2 --dry-run
same "$(checkpoints runs/b | wc -l)" 4 "checkpoints after a dry run"
same "$(grep -c 'would be removed' "$log")" 2 "checkpoints that would go"
run 0 0 clean runs/b --keep 2
said "^runs/b: 2 checkpoints removed, 2 left, [0-9.]* MB freed$" "what went"
same "$(checkpoints runs/b | paste -sd ' ')" "step-000000009 step-000000012" "those that stay"
flip "$(ls runs/b/step-000000012/part-* | head -n 1)" 40
run 0 0 clean runs/b
said "step-000000012" "the broken one"
same "$(checkpoints runs/b | paste -sd ' ')" "step-000000009 step-000000012" "the last good one and the broken one"
flip "$(ls runs/b/step-000000009/part-* | head -n 1)" 40
run 65 0 clean runs/b
said "none of its 2 checkpoints is good; nothing is removed" "that none is good"
same "$(checkpoints runs/b | wc -l)" 2 "broken checkpoints"
before=$(fingerprint runs/deep/a)
run 0 0 clean runs/deep/a
same "$(checkpoints runs/deep/a)" "step-000000012" "the newest"
run 0 0 clean runs/deep/a --dry-run
said "^runs/deep/a: nothing to remove$" "that there is nothing"
train deep/a eval.every=6 sample.every=0
same "$(fingerprint runs/deep/a)" "$before" "the run that was cleaned"
start 0 train "${small[@]}" run.dir=runs/busy train.steps=100000000 checkpoint.every=50
wait_for 60 test -e runs/busy/step-000000050
wait_for 60 test -e runs/busy/status.json
run 69 0 clean runs/busy
run 0 0 ls runs/busy
said "^runs/busy +ddpm +running" "a run that trains"
timeout 5 "$dye" status runs/busy --watch >"$log" # not over while the run runs
same $? 124 "the end of the watch"
[ "$(grep -c '^runs/busy: running' "$log")" -ge 2 ] || die "a watch that looks once"
said "^  loss +[▁▂▃▄▅▆▇█]+  [0-9.]+ to [0-9.]+$" "the curve of the loss"
run 0 0 status runs/deep/a --watch
said "^  held out +[▁▂▃▄▅▆▇█]+  [0-9.]+ to [0-9.]+$" "the curve of the held-out loss"
kill -9 "$job"
wait "$job" 2>/dev/null
make_tiny_picture() { # 4 x 4, the upper half white
    python3 - "$1" <<'PY'
import struct, sys, zlib
lines = b"".join(b"\0" + bytes([255 * (y < 2)] * 4) for y in range(4))
chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
open(sys.argv[1], "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)) +
                              chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))
PY
}
make_tiny_picture runs/deep/a/samples/step-000000012.png
printf 'first line\nsecond\nthird\nfourth\n' >runs/deep/a/samples/step-000000006.txt
run 0 0 status runs/deep/a
said "^  held out " "curves without a watch"
same "$(grep -A2 'step-000000012.png' "$log" | tail -n 2 | tr '\n' '|')" "  ████|      |" "the last picture"
same "$(grep -c '^  | ' "$log")" 3 "lines of text"
script -qec "env -u NO_COLOR TERM=xterm '$dye' status runs/deep/a" /dev/null </dev/null >"$log" 2>/dev/null
grep -q $'\033\\[38;5;255m\033\\[48;5;255m▀' "$log" || die "no colours on a terminal"
script -qec "env NO_COLOR=1 TERM=xterm '$dye' status runs/deep/a" /dev/null </dev/null >"$log" 2>/dev/null
! grep -q $'\033' "$log" || die "colours that are not wanted"
script -qec "env TERM=xterm '$dye' sample runs/deep/a -n 40" /dev/null </dev/null >"$log" 2>/dev/null
grep -q '0 % drawing, 0 s' "$log" || die "no bar on a terminal"
run 0 0 sample runs/deep/a -n 40
! grep -q drawing "$log" || die "a bar without a terminal"
echo no picture >runs/deep/a/samples/step-000000012.png
run 0 0 status runs/deep/a
checked "the last samples: blocks, in colours on a terminal, lines of text"
checked "old checkpoints go, the last good one stays"
