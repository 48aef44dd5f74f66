#!/usr/bin/env bash
# The documentation: what it names is there, its page of keys is what the program prints, and the commands of its pages
# run, page by page in a folder of their own, and print what the pages show, on small data and models.
#
#   docs.sh [--long] [PAGE]   of one page (tutorial.md); --long: the commands in plain blocks of all pages too
#
# CONTRIBUTING.md, Documentation, has how commands are written down; tests/tools/pages.py reads them.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "no python3"
source "$root/tests/run/page.sh"
long=0
if [ "${1:-}" = --long ]; then long=1 && shift; fi
only=${1:-}
set -m # jobs of a page are %1, as in a shell that people use

python3 "$pages" check "$dye" >"$log" || die "the documentation names what is not there"
checked "$(tail -n 1 "$log")"

# What is wrong is found: PAGE, what sed makes of it, what the check must say.
mkdir "$work/tree"
(cd "$root" && cp -r README.md CONTRIBUTING.md ARCHITECTURE.md configs docs base data model comm trainer launch tests "$work/tree")
planted=0
plant() {
    sed -i "$2" "$work/tree/$1"
    ! cmp -s "$root/$1" "$work/tree/$1" || die "$1: nothing was planted by $2"
    ! python3 "$work/tree/tests/tools/pages.py" check "$dye" "$1" >"$log" || die "$1: not found: $2"
    said "$3" "$2"
    cp "$root/$1" "$work/tree/$1"
    planted=$((planted + 1))
}
plant README.md 's/dye eval runs/dye evaluate runs/' 'no command evaluate'
plant README.md 's/dye help bash/dye help fish/' 'no help on fish'
plant README.md 's/^mpirun -n 2 dye bench/& --quick/' 'dye bench has no option --quick'
plant README.md 's/^| 77 |/| 76 |/' 'exit code 77'
plant README.md 's/(docs.slurm.md)/(docs\/slum.md)/' 'links to docs/slum.md'
plant docs/data.md 's/data.crop/data.krop/' 'no key data.krop'
plant docs/tutorial.md 's/^  width: 128/  widht: 128/' "unknown key 'model.widht'"
plant docs/tutorial.md 's/configs.fashion-mnist.yaml/configs\/fashion.yaml/' 'configs/fashion.yaml is not there'
plant docs/configuration.md 's/peak learning rate/peak rate/' 'is not what .dye help markdown. prints'
plant docs/troubleshooting.md 's/goes on from a checkpoint, and/continues, and/' 'says nothing like: continues, and'
printf 'loss 0.5, 3 of 9\n' >"$work/printed"
python3 "$pages" lacks "$work/printed" <<<"loss 0.25, ... of 8" >"$log" || die "other numbers are another line"
! python3 "$pages" lacks "$work/printed" <<<"loss 0.25, 3 in 9" >"$log" || die "other words are the same line"
checked "what is wrong in a page is found, of $planted kinds"

# Where pages fetch data, the first 2000 pictures will do.
make_pictures
get_data() {
    cat >launch/get-data.sh <<END
#!/bin/sh
for name; do [ -e data-packed/\$name ] || "$dye" pack "$work/idx" -o data-packed/\$name || exit; done
END
}
# Pages sleep until there is a curve to be seen; of quick runs it is there soon.
sleep() {
    for ((i = 0; i < 600; ++i)); do
        command sleep 0.1
        if grep -q step runs/*/metrics.jsonl && grep -q step runs/*/status.json; then break; fi 2>/dev/null
    done
}

for page in "$root"/docs/*.md; do
    [ -z "$only" ] || [ "$(basename "$page")" = "$only" ] || continue
    grep -q '^```console' "$page" || continue
    page_clone
    get_data
    ran=0
    PAGE_TRAIN='' PAGE_EVAL='' PAGE_DRAW=''
    [[ $page != */tutorial.md ]] || page_sizes
    page_play "$page"
    checked "$(basename "$page"): $ran commands ran, and print what it shows"
done

[ $long -eq 1 ] || exit 0

# The plain blocks of all pages, on the real data, as far as they can run here.
page_left_out=('^launch/(quickstart|install)|^bash launch/install: it installs packages'
    '^(bash )?tests/run.sh|^ctest: this test is a part of it'
    '^tests/gpu.sh: it wants a GPU, and time'
    '^cmake|^export PATH: the build that is tested was made so'
    'apptainer: there is none, and tests/run/apptainer.sh checks its file'
    '^srun|^dye launch slurm mine: there is no SLURM, and tests/cluster has its own tests'
    '^tests/cluster|^cp build/dye: it takes root and a lab, and tests/cluster has its own tests'
    'tests/bench/(samplers|weak): it takes the models of an hour'
    'message_cost: a program of the tests, measured by hand'
    'process.name=sigmoid: the system is an exercise, which test_own_process builds'
    'dye train mine.yaml: a file of the reader')
[ -e /usr/lib/bible.data ] && [ -e /usr/share/unifont/unifont.hex ] || skip "Debian's bible-kjv-text or unifont is not installed"
for page in README.md CONTRIBUTING.md configs/README.md $(cd "$root" && echo docs/*.md); do
    python3 "$pages" plain "$root/$page" >"$log" || continue
    page_clone
    cp -r "$root/tests" .
    mkdir -p "$work/data" && ln -s "$work/data" data-packed # README.md packs what the others take for granted
    ran=0
    page_sizes
    page_plain "$root/$page"
    checked "$page: $ran plain commands ran"
done
