#!/usr/bin/env bash
# Weak scaling over the lab's hosts, one rank each: the samples of a rank stay, batch and grains grow.
#
#   tests/bench/weak.sh CONFIG.yaml [key=value ...] >table.md
#
# RANKS="1 2 4 8" are the rows, SAMPLES=16 and GRAINS=4 those of a rank in a step, SECONDS_EACH=20 the
# time of a row's phases. data.path must be absolute: the data is copied into the lab (200 MB for all).
#
# All hosts share the cores of this machine, so a rate would say nothing. The first table has what does
# not depend on that: processor time of a sample, waiting for other ranks included, and bytes sent. Both
# are differences of a longer and a shorter run, so that start and end drop out. The second has the
# phases of a step as `dye bench` times them, times cores/ranks where there are more ranks than cores:
# milliseconds of a core that a rank had. Two virtual cores may be halves of one, and compute slower as
# soon as both do: with fewer ranks than cores, other runs keep the rest busy. They count as others in
# the last column; in the other rows it should be small.
# shellcheck source-path=SCRIPTDIR source=../cluster/support.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/support.sh"

rows=${RANKS:-1 2 4 8}
samples=${SAMPLES:-16} grains=${GRAINS:-4} seconds=${SECONDS_EACH:-20}
short=4 long=44 # steps
export ON_SECONDS=600

[ $# -ge 1 ] || { sed -n '2,18s/^# \{0,1\}//p' "$0"; exit 2; }
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
# Each rank leaves its processor time behind.
cat >"$shared/timed.sh" <<'END'
TIMEFORMAT='%U %S'
{ time ./dye "$@" 2>&4; } 4>&2 2>"cpu-${OMPI_COMM_WORLD_RANK:-0}"
END
host_names() { seq -f n%g "$1" | xargs; }

# keys_of RANKS: fills the array `keys`.
keys_of() {
    keys=(weak.yaml "${words[@]}" data.path=data device.threads=1 train.batch=$((samples * $1))
        train.grains=$((grains * $1)))
}
words=("$@")
quiet=(checkpoint.every=1000000 eval.every=0 sample.every=0 log.every=1000000 log.fingerprint_every=0)

# Runs of their own on the last host, one for each core that the ranks leave idle.
begin_twins() {
    local i
    keys_of 1
    for ((i = $1; i < $(nproc); ++i)); do
        bash "$lab_script" exec "n$((most + 1))" ./dye train "${keys[@]}" run.dir="twin-$i" \
            train.steps=100000000 "${quiet[@]}" </dev/null >/dev/null 2>&1 &
        disown
    done
}
end_twins() {
    local pid
    for pid in $(processes_on "n$((most + 1))" dye); do kill -9 "$pid"; done
    rm -rf "$shared"/twin-*
}

sent_by_all() {
    local host sum=0
    for host in $(host_names "$1"); do
        sum=$((sum + $(lab exec "$host" awk '$1 == "eth0:" { print $10 }' /proc/net/dev)))
    done
    echo $sum
}

# measure_run RANKS STEPS: sets `cpu` (s) and `sent` (bytes), of all ranks.
measure_run() {
    local before
    keys_of "$1"
    mpirun_on "$(host_names "$1")" "$1"
    rm -rf "$shared/run" "$shared"/cpu-*
    before=$(sent_by_all "$1")
    on n1 0 "${launch[@]}" bash timed.sh train "${keys[@]}" run.dir=run train.steps="$2" \
        "${quiet[@]}"
    sent=$(($(sent_by_all "$1") - before))
    cpu=$(cat "$shared"/cpu-* | awk '{ sum += $1 + $2 } END { print sum }')
}

for ranks in $rows; do
    begin_twins "$ranks"
    measure_run "$ranks" $short
    less="$cpu $sent"
    measure_run "$ranks" $long
    echo "$ranks $less $cpu $sent" >>"$work/runs"
    rm -rf "$shared/run"
    keys_of "$ranks"
    on n1 0 "${launch[@]}" ./dye bench "${keys[@]}" run.dir=run --only step,loader,reduce,checkpoint \
        --seconds "$seconds" --json bench.jsonl
    cp "$shared/bench.jsonl" "$work/bench-$ranks"
    end_twins
    checked "$ranks ranks"
done

python3 - "$work" "$(nproc)" "$samples" $((long - short)) >&3 <<'END'
import json
import sys
from pathlib import Path

folder, cores, samples, steps = Path(sys.argv[1]), *map(int, sys.argv[2:])
UPDATE, TREE = {"adamw_ema", "sum_squares", "fingerprint"}, {"axpby"}
NONE = "(no operation: waits, copies)"
print("| ranks | CPU ms a sample | to one rank | bytes sent, a rank and step | 8 P (W-1)/W | ratio |")
print("|--:|--:|--:|--:|--:|--:|")
phases, first = [], None
for line in (folder / "runs").read_text().splitlines():
    ranks, cpu_short, sent_short, cpu_long, sent_long = map(float, line.split())
    bench = {}
    for record in (folder / f"bench-{ranks:.0f}").read_text().splitlines():
        bench[json.loads(record)["phase"]] = json.loads(record)
    figures = {name: value for r in bench.values() for name, value in r["figures"].items()}
    cpu = 1e3 * (cpu_long - cpu_short) / steps / samples / ranks
    first = first or cpu
    sent = (sent_long - sent_short) / steps / ranks
    formula = 2e6 * figures["bytes_mb"] * (ranks - 1) / ranks
    ratio = f"{sent / formula:.3f}" if formula else "-"
    print(f"| {ranks:.0f} | {cpu:.3f} | {cpu / first:.3f} | {sent:,.0f} | {formula:,.0f} | {ratio} |")

    share = min(1, cores / ranks)
    time = {row["name"]: row["ms a step"] for row in bench["step"]["rows"]}
    update = sum(ms for name, ms in time.items() if name in UPDATE)
    tree = sum(ms for name, ms in time.items() if name in TREE)
    exchange = 1e-3 * (figures.get("reduce_us", 0) + figures.get("gather_us", 0))
    compute = sum(time.values()) - time[NONE] - update - tree
    other = max((r["foreign_load"] or 0 for r in bench.values()), default=0)
    cells = [compute, 1e-3 * figures["wait_us"], tree, exchange, update, time[NONE],
             figures["stall_ms"]]
    phases.append(f"| {ranks:.0f} | " + " | ".join(f"{ms * share:.2f}" for ms in cells) +
                  f" | {100 * other:.0f} % |")
print("\nCore milliseconds of a rank, in a step; the last but one, of a save:\n")
print("| ranks | forward, backward | wait for data | tree of sums | exchange alone | update "
      "| no operation: exchange and waits | stall of a save | others used |")
print("|" + "--:|" * 9 + "\n" + "\n".join(phases))
END
