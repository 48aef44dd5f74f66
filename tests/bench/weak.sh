#!/usr/bin/env bash
# Weak scaling over the lab's hosts, one rank each: the samples of a rank stay, batch and grains grow.
#
#   tests/bench/weak.sh CONFIG.yaml [key=value ...] >table.md
#
# RANKS="1 2 4 8" are the rows, SAMPLES=16 and GRAINS=4 those of a rank in a step, SECONDS_EACH=60 the
# time of a row. data.path must be absolute: the data is copied into the lab (200 MB for all).
#
# All hosts share the cores of this machine, so neither a rate nor time on a clock would say anything.
# The table has processor time, which is told by thread: all ranks train, and between two moments far
# enough apart every thread's time, the step, and the bytes that left each host are read.
#
#   computing  dye-stream: forward, backward, sums of grains, update
#   data       dye-loader
#   exchange   the main thread and those of MPI: gradients, weights, the board; a wait gives its core
#              away again and again, which is not free
#   watch      dye-control and ZeroMQ
#
# Two virtual cores may be halves of one, and compute slower as soon as both do: with fewer ranks than
# cores, other runs keep the rest busy.
# shellcheck source-path=SCRIPTDIR source=../cluster/support.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/support.sh"

rows=${RANKS:-1 2 4 8}
samples=${SAMPLES:-16} grains=${GRAINS:-4} seconds=${SECONDS_EACH:-60}
export ON_SECONDS=600

[ $# -ge 1 ] || { sed -n '2,22s/^# \{0,1\}//p' "$0"; exit 2; }
[ -f "$1" ] || { echo "no file $1" >&2; exit 2; }
config=$1
shift
data=$(printf '%s\n' "$@" | sed -n 's/^data\.path=//p' | tail -n 1)
[ -d "$data" ] || { echo "data.path=FOLDER must name the packed data" >&2; exit 2; }

# The table alone goes to stdout.
exec 3>&1 1>&2
most=$(printf '%s\n' $rows | sort -n | tail -n 1)
lab_up $((most + 1))
cp "$config" "$shared/weak.yaml"
cp -r "$data" "$shared/data"
host_names() { seq -f n%g "$1" | xargs; }

# keys_of RANKS: fills the array `keys`.
keys_of() {
    keys=(weak.yaml "${words[@]}" data.path=data device.threads=1 train.batch=$((samples * $1))
        train.grains=$((grains * $1)) train.steps=100000000 checkpoint.every=100000000 eval.every=0
        sample.every=0 log.every=1 log.fingerprint_every=0)
}
words=("$@")

# Runs of their own on the last host, one for each core that the ranks leave idle.
begin_twins() {
    local i
    keys_of 1
    for ((i = $1; i < $(nproc); ++i)); do
        bash "$lab_script" exec "n$((most + 1))" ./dye train "${keys[@]}" run.dir="twin-$i" \
            </dev/null >/dev/null 2>&1 &
        disown
    done
}
end_all() {
    local host pid
    for host in $(host_names $((most + 1))); do
        for pid in $(processes_on "$host" mpirun) $(processes_on "$host" dye); do
            kill -9 "$pid" 2>/dev/null || true
        done
    done
    wait_gone 30 "$job"
    rm -rf "$shared"/twin-* "$shared/run"
}

last_step() { tail -n 1 "$shared/run/metrics.jsonl" | sed -n 's/.*"step": *\([0-9]*\).*/\1/p'; }
beyond() { [ "$(last_step 2>/dev/null || echo 0)" -ge "$1" ]; } 2>/dev/null

# moment RANKS: one line for each thread of all ranks, "thread NAME TICKS", and "sent BYTES" of each
# host; "step N" before and after, as reading takes time.
moment() {
    local host pid
    echo "step $(last_step)"
    for host in $(host_names "$1"); do
        for pid in $(processes_on "$host" dye); do
            # Behind the name in brackets; the 14th and 15th number are user and system time.
            cat "/proc/$pid"/task/*/stat |
                sed 's/^[0-9]* (\([^)]*\)) /\1 /; s/^ZMQ[^ ]*/ZMQ/; s/^\([^ ]*\) [^0-9 ]* /\1 /' |
                awk '{ print "thread", $1, $12 + $13 }'
        done
        echo "sent $(lab exec "$host" awk '$1 == "eth0:" { print $10 }' /proc/net/dev)"
    done
    echo "step $(last_step)"
}

for ranks in $rows; do
    begin_twins "$ranks"
    keys_of "$ranks"
    mpirun_on "$(host_names "$ranks")" "$ranks"
    begin n1 "${launch[@]}" ./dye train "${keys[@]}" run.dir=run
    wait_for 90 beyond 10
    moment "$ranks" >"$work/first-$ranks"
    sleep "$seconds"
    moment "$ranks" >"$work/second-$ranks"
    end_all
    checked "$ranks ranks"
done

python3 - "$work" "$(getconf CLK_TCK)" "$samples" $rows >&3 <<'END'
import sys
from collections import Counter
from pathlib import Path

folder, ticks, samples, *rows = Path(sys.argv[1]), *map(int, sys.argv[2:])
CLASSES = {"dye-stream": "computing", "dye-loader": "data", "dye": "exchange",
           "dye-control": "watch", "ZMQ": "watch"}
NAMES = ["computing", "data", "exchange", "watch", "others"]


def read(path):
    sums = Counter()
    for line in path.read_text().splitlines():
        word, *rest = line.split()
        key = CLASSES.get(rest[0], "others") if word == "thread" else word
        sums[key] += int(rest[-1])
    return sums


alone = None
print("| ranks | " + " | ".join(NAMES) + " | all | to one rank | KB sent, a rank and step |")
print("|" + "--:|" * (len(NAMES) + 4))
for ranks in rows:
    first, second = read(folder / f"first-{ranks}"), read(folder / f"second-{ranks}")
    steps = (second["step"] - first["step"]) / 2
    cost = [1e3 * (second[n] - first[n]) / ticks / steps / samples / ranks for n in NAMES]
    alone = alone or sum(cost)
    sent = (second["sent"] - first["sent"]) / steps / ranks / 1e3
    print(f"| {ranks} | " + " | ".join(f"{ms:.3f}" for ms in cost) +
          f" | {sum(cost):.3f} | {sum(cost) / alone:.2f} | {sent:,.0f} |")
END
