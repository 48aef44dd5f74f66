#!/usr/bin/env bash
# dye report: one page for a run or several, from whatever they have written down, that stands alone.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "python3 is not installed"

make_points
cd "$work" || exit 1
train() { run 0 "$1" train "${small[@]}" run.dir="runs/$2" train.steps=24 log.every=2 checkpoint.every=12 "${@:3}"; }
# page FILE TEXT...: well-formed, refers to nothing outside, shows these texts.
page() { python3 "$root/tests/tools/check_page.py" page "$@" >"$log" 2>&1 || die "the page $1"; }
# The number at KEY of the last record, as people see it.
last() { python3 -c 'import json, sys
print("%.4g" % [json.loads(line) for line in open(sys.argv[1])][-1][sys.argv[2]])' "$1/metrics.jsonl" "$2"; }

odd='b<script>alert(1)&"x'
train 2 a eval.every=6 sample.every=12
train 1 "$odd" optim.lr=1e-3
run 0 0 report runs/a
said "^report of 1 run in runs/a/report.html, [0-9]+ kB$" "where the page is"
page runs/a/report.html "$(last runs/a loss)" "$(fingerprint runs/a)" "24 of 24" "least held-out loss" "ddpm" \
    "step 24" "Slowest ranks" "points, seen from" "Noise levels over steps" "eps: 1e-08"
usual=$(sed -n 's/^  lr: \([^ ]*\) .*/\1/p' runs/a/config.yaml)
[ -n "$usual" ] && [ "$usual" != 0.001 ] || die "the learning rate of a: '$usual'"
run 0 0 report runs/a "runs/$odd" -o both.html
page both.html "2 runs compared" "$odd" "$(last runs/a loss)" "$(last "runs/$odd" loss)" "$(fingerprint runs/a)" \
    "$(fingerprint "runs/$odd")" "Keys in which the runs differ" "optim.lr $usual 0.001" \
    "No samples have been drawn on the way" "it waits for nobody" "config.yaml" "libyaml"
grep -q 'type="checkbox" class="show" id="show1"' both.html || die "no switch of the second run"
same "$(grep -c 'class="run r1 c1 d0" data-name' both.html)" 7 "curves of the second run" # held-out loss has none
same "$(ls -A . | grep -c '^\.\|tmp')" 0 "what is left beside the page"
checked "one page of one run, and of two that are compared"

# ---- what is missing, damaged, or hostile --------------------------------------------------------

mkdir -p bare
cp runs/a/config.yaml bare
run 0 0 report bare
page bare/report.html "none yet" "Nothing has been recorded yet" "No held-out loss has been taken yet" \
    "No samples have been drawn" "There is no run.json" "there is no status.json" "not started"
head -c "$(($(head -n 1 runs/a/metrics.jsonl | wc -c) + 30))" runs/a/metrics.jsonl >bare/metrics.jsonl
run 0 0 report bare
page bare/report.html "$(python3 -c 'import json
print("%.4g" % json.loads(open("runs/a/metrics.jsonl").readline())["loss"])')" "2 of 24"
sed -i 's/"loss": [0-9.e-]*/"loss": null/' bare/metrics.jsonl
run 0 0 report bare
page bare/report.html "loss, last record -" "the loss is not finite"
cp -r runs/a nan
sed -i '3,4s/"loss": [0-9.e-]*/"loss": null/; 6,$s/"skipped": 0/"skipped": 3/' nan/metrics.jsonl
sed -i '1s/"loss": [0-9.e-]*/"loss": null/' nan/eval.jsonl
echo '{"step": 26, "lo' >>nan/metrics.jsonl
printf '<script>alert(2)</script>\377 & "quoted"\n' >nan/samples/step-000000030.txt
printf 'no picture' >nan/samples/step-000000031.png
printf '2026-01-01 rank 1 on <b>n1</b> hangs\n' >nan/forensics/causes.log
echo 'no: such: thing' >nan/run.json
run 0 0 report nan
least=$(python3 -c 'import json
print("%.4g" % min(json.loads(line)["loss"] or 9e9 for line in open("nan/eval.jsonl")))')
page nan/report.html "2 records have no number" "1 record has no number" "least held-out loss $least at step" "3 steps were not finite and changed no weights, 3 in all" \
    "the first of 2 records whose loss is not finite" "<script>alert(2)</script>� & \"quoted\"" \
    "This file is no PNG." "rank 1 on <b>n1</b> hangs" "There is no run.json."
sed -i 's/^process:/prozess:/' nan/config.yaml
run 0 0 report nan runs/a -o nan.html
page nan.html "unknown section 'prozess' (nearest: 'process')"
checked "gaps, halves and strangers are told in words"

rm nan/samples/*
for step in $(seq 10 40); do cp "$root/docs/latents.png" "nan/samples/step-0000000$step.png"; done
run 0 0 report nan
page nan/report.html "step 10" "step 40" "12 of 31 pictures, evenly over the steps"
said "^[0-9]+ characters, 13 pictures$" "the newest large, a dozen small"
truncate -s 9M nan/samples/step-000000040.png
run 0 0 report nan
page nan/report.html "The newest samples are too large for this page: nan/samples/step-000000040.png"
checked "pictures evenly over the steps, as many as a page bears"

run 66 0 report runs/a runs/none -o none.html
said "runs/none is not there" "the run that is missing"
run 66 0 report runs -o none.html
said "runs holds no run: it has neither config.yaml nor metrics.jsonl" "a folder that is none"
run 2 0 report
run 2 0 report runs/a nan
said "a report of several runs needs -o FILE.html" "that a place is missing"
[ ! -e none.html ] || die "a page of what is not there"
run fail 0 report runs/a -o no/such/folder.html
checked "missing runs are named"

# ---- as a browser shows it -----------------------------------------------------------------------

if ! command -v chromium >/dev/null; then
    echo "skip chromium is not installed: nobody looks at the page"
    exit 0
fi
# browse DARK PAGE ARGUMENT...: 0: dark is preferred, 1: light is.
browse() {
    timeout 60 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$work/browser" --enable-logging=stderr \
        --blink-settings=preferredColorScheme="$1" "${@:3}" "file://$work/$2" >dom 2>"$log"
}
printf '<!DOCTYPE html><title>x</title><script>missing();</script>' >broken.html
browse 1 broken.html --dump-dom
said "CONSOLE.*missing is not defined" "an error that was planted"
browse 1 both.html --dump-dom || die "chromium"
! grep -q CONSOLE "$log" || die "the console is not silent"
grep -q '<button>Dark</button>' dom || die "the script did not run"
browse 1 both.html --window-size=900,700 --screenshot="$work/light.png" || die "chromium, light"
browse 0 both.html --window-size=900,700 --screenshot="$work/dark.png" || die "chromium, dark"
python3 "$root/tests/tools/check_page.py" shown light.png dark.png >"$log" 2>&1 || die "the screenshots"
checked "light and dark, as a browser shows it, without an error"
