#!/usr/bin/env python3
"""Memory and time of steps that compute activations again: device.recompute at several values, in turns.

    recompute.py ROUNDS SECONDS BLOCKS,... CONFIG.yaml [key=value ...]    such as: recompute.py 3 10 0,6,12 dit.yaml

A round is a `dye bench --only step --seconds SECONDS` for each number of blocks. A ratio is taken within its round, so that
what else the machine does weighs on both sides; the median of the rounds is printed, and their range.
DYE names the program.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile

DYE = os.environ.get("DYE", "build/dye")


def plan(config, blocks):
    words = [DYE, "plan", *config, "--backend", "cpu", "--gpus", "1", "--json", f"device.recompute={blocks}"]
    return json.loads(subprocess.run(words, check=True, capture_output=True).stdout)


def step(config, seconds, blocks, folder):
    path = os.path.join(folder, "step.json")
    words = [DYE, "bench", *config, "--only", "step", "--seconds", seconds, "--json", path]
    words.append(f"device.recompute={blocks}")
    subprocess.run(words, check=True, capture_output=True)
    with open(path) as file:
        record = json.loads(file.readline())
    os.remove(path)
    return record


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    rounds, seconds, blocks, config = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
    blocks = [int(n) for n in blocks.split(",")]
    memory = {n: plan(config, n) for n in blocks}
    times, loads = {n: [] for n in blocks}, []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for n in blocks:
                record = step(config, seconds, n, folder)
                times[n].append(record["figures"]["step_ms"])
                loads.append(record["foreign_load"])
    print("| blocks | activations MB | all MB | ms a step | over the first [least, most] |")
    print("|--:|--:|--:|--:|--:|")
    for n in blocks:
        ratios = [a / b for a, b in zip(times[n], times[blocks[0]])]
        print(f"| {n} | {memory[n]['host_bytes']['activations'] / 1e6:.1f} "
              f"| {memory[n]['host_total'] / 1e6:.1f} "
              f"| {statistics.median(times[n]):.0f} "
              f"| {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}] |")
    print(f"others used {100 * min(loads):.0f} to {100 * max(loads):.0f} % of the cores; {record['machine']['commit']}")


if __name__ == "__main__":
    main()
