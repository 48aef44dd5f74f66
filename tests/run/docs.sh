#!/usr/bin/env bash
# The documentation: what it names is there, its page of keys is what the program prints, and the commands of its pages
# run, page by page in a folder of their own, and print what the pages show, on small data and models.
#
#   docs.sh [--long]   the commands of README.md and the other pages too
#
# CONTRIBUTING.md, Documentation, has how commands are written down; tests/tools/pages.py reads them.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "no python3"
source "$root/tests/run/page.sh"
set -m # jobs of a page are %1, as in a shell that people use

python3 "$pages" check "$dye" >"$log" || die "the documentation names what is not there"
checked "$(tail -n 1 "$log")"

# Where pages fetch data, the first 2000 pictures will do.
make_pictures
page_clone
cat >launch/get-data.sh <<END
#!/bin/sh
for name; do [ -e data-packed/\$name ] || "$dye" pack "$work/idx" -o data-packed/\$name || exit; done
END
# What is waited for is a first line of the curve.
sleep() { wait_for 60 grep -q step runs/*/metrics.jsonl; }

for page in "$root"/docs/*.md; do
    grep -q '^```console' "$page" || continue
    ran=0
    PAGE_TRAIN='' PAGE_EVAL='' PAGE_DRAW=''
    [[ $page != */tutorial.md ]] || page_sizes
    page_play "$page"
    checked "$(basename "$page"): $ran commands ran, and print what it shows"
done
