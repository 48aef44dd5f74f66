#!/usr/bin/env bash
# What docs.sh and first_hour.sh share, sourced after common.sh: a folder as after a clone, in which the commands of a
# page run one after the other, in one shell, as a reader types them (tests/tools/pages.py shell).
#
# `dye` and `mpirun` are stand-ins that call the real ones: training is made smaller by the words in PAGE_TRAIN,
# evaluation and drawing by those in PAGE_EVAL, PAGE_DRAW; ranks may be more than cores.
pages=$root/tests/tools/pages.py
export PAGE_TRAIN= PAGE_EVAL= PAGE_DRAW=
page_last=0
page_left_out=() # 'EXPRESSION: why', of commands that are not run
: "${page_transcript:=$work/transcript}"

# page_clone: the folder $work/clone, fresh, and the stand-ins before all others in PATH.
page_clone() {
    cd "$work" && rm -rf clone
    mkdir -p "$work/clone/build" "$work/bin"
    cp -r "$root/configs" "$root/launch" "$root/docs" "$work/clone"
    ln -s "$dye" "$work/clone/build/dye"
    cat >"$work/bin/dye" <<END
#!/usr/bin/env bash
case \$1-\$2-\${*: -1} in
*--help | launch-*--dry-run) ;;
train-* | launch-local-* | bench-*) set -- "\$@" \$PAGE_TRAIN ;;
eval-*) set -- "\$@" \$PAGE_EVAL ;;
sample-* | film-*) set -- "\$@" \$PAGE_DRAW ;;
esac
exec "$dye" "\$@"
END
    [ -x "$work/bin/mpirun" ] || printf '#!/bin/sh\nexec %s --oversubscribe --bind-to none "$@"\n' "$(command -v mpirun)" >"$work/bin/mpirun"
    chmod +x "$work/bin/dye" "$work/bin/mpirun"
    [[ $PATH == $work/bin:* ]] || PATH=$work/bin:$PATH
    cd "$work/clone" || exit 1
}

# page_sizes: training of seconds.
page_sizes() {
    PAGE_TRAIN="model.width=32 model.depth=1 model.heads=2 train.batch=16 train.grains=4 train.steps=2000 eval.every=500
        eval.samples=50 sample.every=500 sample.count=4 checkpoint.every=100 log.every=20 log.plain_seconds=0.5
        sampler.steps=4 device.threads=1"
    PAGE_EVAL="--limit 20"
    PAGE_DRAW="sampler.steps=4"
}

# page_play PAGE [SECTION]: runs its commands; one that fails, or does not print what the page shows, ends the test.
page_play() {
    python3 "$pages" shell "$@" >"$work/page" || die "$* has no commands"
    # shellcheck disable=SC1091
    source "$work/page"
}

page_plain() { # the commands of its plain blocks
    python3 "$pages" plain "$1" >"$work/page" || die "$1 has no plain commands"
    # shellcheck disable=SC1091
    source "$work/page"
}

page_file() {
    mkdir -p "$(dirname "$1")" && cat >"$1"
    echo "[the file $1]" >>"$page_transcript"
}

page_status() { return "$page_last"; }

# page_run PLACE MAY-FAIL COMMAND: what it should print is on standard input.
page_run() {
    local place=$1 shown missing job_before=${!:-} entry
    shown=$(cat)
    for entry in "${page_left_out[@]}"; do
        [[ ! $3 =~ ${entry%%: *} ]] || { echo "     left out: $3 (${entry#*: })" && return; }
    done
    echo "\$ $3" >>"$page_transcript"
    set +o pipefail # as in a shell that people use
    page_status
    eval "$3" </dev/null >"$log" 2>&1
    page_last=$?
    set -o pipefail
    cat "$log" >>"$page_transcript"
    [ "${!:-}" = "$job_before" ] || jobs_started+=("-$!") # its group
    [ $page_last -eq 0 ] || [ "$2" -eq 1 ] || die "$place: exit code $page_last: $3"
    missing=$(python3 "$pages" lacks "$log" <<<"$shown") || die "$place: the page shows what is not printed: $missing"
    ran=$((${ran:-0} + 1))
}
