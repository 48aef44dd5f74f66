#!/usr/bin/env bash
# A newcomer's first hour: docs/tutorial.md step by step with its own sizes, but for 300 steps instead of 1,000, and
# after each step what a newcomer should have. first_hour.sh [TRANSCRIPT]: all that was typed and printed, as a file.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "no python3"
[ -d /usr/share/datasets/fashion-mnist ] || skip "Debian's dataset-fashion-mnist is not installed"
[ -z "${1:-}" ] || page_transcript=$(realpath "$1")
source "$root/tests/run/page.sh"
set -m # jobs of a page are %1, as in a shell that people use

page_clone
: >"$page_transcript"
PAGE_TRAIN="train.steps=300 eval.every=100 sample.every=100 checkpoint.every=30s"
PAGE_EVAL="--limit 500"

begun=$SECONDS
# step NUMBER: the commands of that section.
step() {
    echo "== step $1, after $((SECONDS - begun)) s" >>"$page_transcript"
    page_play "$root/docs/tutorial.md" "$1. "
}
# The tutorial sleeps until there is something to see: here, 40 steps.
sleep() { for ((i = 0; i < 1200; ++i)); do command sleep 0.1 && ! reached 40 || break; done; }
reached() { [ "$(sed -n 's/.*"step": \([0-9]*\),.*/\1/p' runs/clothes/metrics.jsonl 2>/dev/null | tail -n 1)" -ge "$1" ] 2>/dev/null; }
# value KEY FILE LINE: a number of one record.
value() { sed -n "$3p" "$2" | sed -n "s/.*\"$1\": \([0-9.e-]*\).*/\1/p"; }
less() { awk "BEGIN { exit !($1 < $2) }" || die "$3: $1 is not less than $2"; }
# picture FILE WIDTH HEIGHT
picture() { same "$(od -An -tu1 -j 16 -N 8 "$1" | awk '{ print $3 * 256 + $4, $7 * 256 + $8 }')" "$2 $3" "the size of $1"; }

step 1
same "$(find clothes/train -name '*.png' | wc -l)" 60000 "pictures in the folder"
checked "step 1: a folder of 60000 pictures in $(ls clothes/train | wc -l) classes"

step 2
run 0 0 inspect data-packed/clothes
said '^split valid: 3000 items$' "what was put aside"
checked "step 2: packed, inspected, verified"

step 3
[ ! -e runs ] || die "a mistyped key has left a folder behind"
checked "step 3: a mistake is told before anything starts"

step 4
said '^ready for clothes.yaml' "the verdict"
checked "step 4: the doctor is content"

step 5
reached 40 || die "it does not train"
less "$(value loss runs/clothes/metrics.jsonl 4)" "$(value loss runs/clothes/metrics.jsonl 1)" "the loss after 40 steps"
checked "step 5: it trains, and the loss falls"

step 6
[ -s runs/clothes/report.html ] || die "no report"
run 0 0 status runs/clothes
said '^ +1 +' "the second rank"
checked "step 6: the status from another shell"

step 7
same "$(checkpoints runs/clothes | tail -n 1)" step-000000300 "the last checkpoint"
less "$(value loss runs/clothes/eval.jsonl '$')" "$(value loss runs/clothes/eval.jsonl 1)" "the held-out loss"
for at in 100 200 300; do picture runs/clothes/samples/step-000000$at.png 466 466; done
checked "step 7: stopped with 75, gone on, finished; held-out loss $(value loss runs/clothes/eval.jsonl 1) to $(value loss runs/clothes/eval.jsonl '$')"

step 8
picture grid.png 466 466
picture boots.png 234 234
[ -s film.png ] || die "no film"
cmp -s grid.png runs/clothes/samples/step-000000300.png || die "64 samples are not those that training drew at its end"
checked "step 8: samples, one class, a film"

step 9
bits=$(sed -n 's/^bits_per_dim \([0-9.]*\) .*/\1/p' "$log")
less 1 "$bits" "bits a pixel"
less "$bits" 8 "bits a pixel of a model that has learned"
checked "step 9: $bits bits a pixel"

step 10
run 0 0 verify data-packed/clothes
run 0 0 verify runs/clothes
checked "step 10: what goes wrong is named, and harms nothing"

step 11
grep -q '"name": *"flow"\|name: flow' runs/flow/config.yaml || die "the second run is no flow"
checked "step 11: a second run, and what differs"

step 12
same "$(od -An -c -j 8 -N 1 clothes.safetensors | tr -d ' ')" "{" "the header of the weights"
same "$(checkpoints runs/clothes | wc -l)" 1 "checkpoints after dye clean"
checked "step 12: exported and cleaned, after $((SECONDS - begun)) s; transcript of $(wc -l <"$page_transcript") lines: $page_transcript"
