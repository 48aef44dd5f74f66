#!/usr/bin/env python3
"""Steps on 8 to 1,024 GPUs, on paper: the tables of docs/scaling.md. Nobody has measured them.

    scale_gpu.py [--models XL,S] [--batch 64,32] [--gpus 8,64] [--step XL:64:81.2:9.1] [--CONSTANT X]
    scale_gpu.py --check [FILE]   the formulas against worked numbers; does FILE hold the tables?

A step is compute, this rank's share of the optimizer, and what of the two collectives (reduce-scatter of
gradients, all-gather of weights) is not hidden, and the board: the all-reduce of some kilobytes that tells all
ranks the norm, which nothing hides. The host waits for nothing in between. Three ways are set side by side:

  flat    every rank sends to every other, fp32, and nothing is hidden: what Dye does where the ranks of a
          node are no neighbours
  today   what Dye does else: within a node first, then each GPU with its like on other nodes; reduce-scatter
          in fp32 under the backward pass of a rank's last grain, all-gather in fp32 under the forward pass
          of its next first one
  could   the same, but with an all-gather in bf16, and one grain

Efficiency is against the same step without collectives. --step MODEL:BATCH:MS:OPTIMIZER_MS puts a measured
step of one GPU (of which the optimizer takes OPTIMIZER_MS) into the place of the estimate.
"""
import argparse
import math
import sys

# name, default, unit and meaning, where from. All are assumptions until they are measured.
CONSTANTS = [
    ("node", 8, "GPUs of a node", "usual"),
    ("base-us", 8.4, "us that a collective costs at least", "NCCL 2.28.9, tuning.cc, Simple"),
    ("hop-node-us", 3.4, "us of a hop in a node", "NCCL 2.28.9, tuning.cc, ring on NVLink"),
    ("hop-net-us", 14.0, "us of a hop between nodes", "NCCL 2.28.9, tuning.cc, Simple"),
    ("board-base-us", 4.4, "us that the board costs at least", "NCCL, tuning.cc, tree, LL"),
    ("board-node-us", 0.52, "us of a hop of the board in a node, times 1.8 with several nodes", "the same, NVLink"),
    ("board-net-us", 5.0, "us of a hop of the board between nodes", "the same"),
    ("message-us", 0.7, "us of a rank for each message", "assumed"),
    ("node-gb", 360.0, "GB/s of a GPU within its node", "reports of NVLink on H100"),
    ("net-gb", 45.0, "GB/s of a GPU between nodes", "NDR of 400 Gbit/s a GPU"),
    ("memory-gb", 3000.0, "GB/s of a GPU's memory", "copy on an H100"),
    ("forward", 1 / 3, "of the compute is the forward pass", "backward has twice the products"),
    ("grains", 1, "of a rank, of which the last hides gradients on their way, the first weights", "as few as fit"),
]
# Millions of parameters; (batch, step ms, of it optimizer ms) of one H100: estimates from the floor of
# each kernel, products at 86 % of the measured peak, the rest at 92 % of the copy bandwidth.
MODELS = {"S": (32.9, [(32, 3.36, 0.46), (256, 22.7, 0.46)]),
          "B": (130.3, [(128, 34.4, 1.79)]),
          "L": (457.8, [(128, 114.7, 6.30)]),
          "XL": (674.8, [(32, 49.0, 9.35), (128, 165.9, 9.35), (256, 322.0, 9.35)])}
BATCH = {"S": [32, 256], "B": [32, 128], "L": [32, 64], "XL": [32, 64]}
GPUS = [8, 16, 32, 64, 128, 256, 512, 1024]
BUCKETS = [1, 2, 4, 8, 16, 32]
# Worked by hand before this program was written: XL, batch, compute ms, GPUs, buckets, bytes on the wire,
# efficiency. The compute of batch 16 was not written down; 18.6 ms is what its row agrees with best.
WORKED = [
    (78.3, 16, 4, {8: .990, 64: .982, 1024: .978, 4096: .972}, .003),
    (78.3, 16, 2, {8: .994, 64: .988, 1024: .985, 4096: .978}, .003),
    (39.65, 16, 4, {8: .982, 64: .965, 1024: .959, 4096: .944}, .003),
    (39.65, 16, 2, {8: .988, 64: .976, 1024: .971, 4096: .955}, .003),
    (18.6, 16, 4, {8: .964, 64: .791}, .02),
    (18.6, 16, 2, {8: .976, 64: .916}, .02),
    (18.6, 8, 4, {1024: .699, 4096: .603}, .02),
    (18.6, 8, 2, {1024: .844, 4096: .762}, .02),
]


def read_arguments(words):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--batch", help="samples of a GPU (two for each model)")
    parser.add_argument("--gpus", default=",".join(map(str, GPUS)))
    parser.add_argument("--buckets", type=int, help="of the gradients (the best of 1 to 32)")
    parser.add_argument("--step", action="append", default=[], metavar="MODEL:BATCH:MS:OPTIMIZER_MS")
    parser.add_argument("--check", nargs="?", const="", metavar="FILE")
    for name, default, meaning, source in CONSTANTS:
        parser.add_argument("--" + name, type=type(default), default=default,
                            help=f"{meaning} ({default:.3g}; {source})")
    return parser.parse_args(words)


def one_gpu(steps, batch):
    """Compute and optimizer of a step on one GPU, in ms: a line through the nearest two, or the origin."""
    steps = sorted(steps)
    for known, ms, optimizer in steps:
        if known == batch:
            return ms - optimizer, optimizer
    points = sorted(steps, key=lambda s: abs(s[0] - batch))[:2]
    (a, ms_a, optimizer) = points[0]
    if len(points) == 1 or batch < steps[0][0]:
        return (ms_a - optimizer) * batch / a, optimizer
    (b, ms_b, other) = points[1]
    slope = ((ms_b - other) - (ms_a - optimizer)) / (b - a)
    return (ms_a - optimizer) + slope * (batch - a), optimizer


# Each gives ms for a bucket whose numbers take `wire` bytes in all on the wire, `summed` where they are
# added up (0: they are only gathered).
def stage(a, wire, summed, peers, hop_us, gb):
    if peers == 1:
        return 0.0
    sent = wire * (peers - 1) / peers / (gb * 1e9)
    added = summed * (1 + 1 / peers) / (a.memory_gb * 1e9)
    return 1e3 * (sent + added) + 1e-3 * (a.base_us + hop_us + (peers - 1) * a.message_us)


def rails(a, gpus, wire, summed):
    g = min(a.node, gpus)
    return (stage(a, wire, summed, g, a.hop_node_us, a.node_gb)
            + stage(a, wire / g, summed / g, gpus // g, a.hop_net_us, a.net_gb))


def flat(a, gpus, wire, summed):
    """Every rank with every other; the slower of the two kinds of links decides."""
    g = min(a.node, gpus)
    inside, outside = wire * (g - 1) / gpus / (a.node_gb * 1e9), wire * (gpus - g) / gpus / (a.net_gb * 1e9)
    added = summed * (1 + 1 / gpus) / (a.memory_gb * 1e9)
    hop = a.hop_net_us if gpus > g else a.hop_node_us
    return 1e3 * (max(inside, outside) + added) + 1e-3 * (a.base_us + hop + (gpus - 1) * a.message_us)


def exposed(collective, buckets, compute):
    """What does not fit under `compute` ms; the last bucket never does."""
    return max(collective, buckets * collective - compute * (buckets - 1) / buckets)


def rails_ms(a, gpus, numbers, compute, buckets, gradient_bytes=4):
    """numbers: of all parameters. Sums are made in fp32 whatever travels."""
    scatter = rails(a, gpus, numbers * gradient_bytes / buckets, numbers * 4 / buckets)
    gather = rails(a, gpus, numbers * 2 / buckets, 0)
    return (exposed(scatter, buckets, compute * (1 - a.forward))
            + exposed(gather, buckets, compute * a.forward))


def best_rails(a, gpus, numbers, compute):
    return min((rails_ms(a, gpus, numbers, compute, buckets), buckets)
               for buckets in ([a.buckets] if a.buckets else BUCKETS))


def today_ms(a, gpus, numbers, compute):
    grain = compute / a.grains
    return min(exposed(rails(a, gpus, numbers * 4 / n, numbers * 4 / n), n, grain * (1 - a.forward))
               + exposed(rails(a, gpus, numbers * 4 / n, 0), n, grain * a.forward)
               for n in ([a.buckets] if a.buckets else BUCKETS))


def flat_ms(a, gpus, numbers, buckets=8):
    return buckets * (flat(a, gpus, numbers * 4 / buckets, numbers * 4 / buckets)
                      + flat(a, gpus, numbers * 4 / buckets, 0))


def board_ms(a, gpus):
    """A tree: in a node one GPU after the other, between nodes by halves; up and down."""
    g = min(a.node, gpus)
    nodes = gpus // g
    hops = (g - 1) * a.board_node_us * (1.8 if nodes > 1 else 1) + math.log2(nodes) * a.board_net_us
    return 1e-3 * (a.board_base_us + 2 * hops)


def measured(a):
    models = {name: (size, list(steps)) for name, (size, steps) in MODELS.items()}
    for text in a.step:
        name, batch, ms, optimizer = text.split(":")
        models[name][1][:] = [s for s in models[name][1] if s[0] != int(batch)]
        models[name][1].append((int(batch), float(ms), float(optimizer)))
    return models


def tables(a):
    gpus = [int(n) for n in a.gpus.split(",")]
    names = ["model", "batch", "one GPU", ""] + [f"{n:,}" for n in gpus]
    lines = ["| " + " | ".join(names) + " |", "|---|--:|--:|---" + "|--:" * len(gpus) + "|"]
    models = measured(a)
    for name in a.models.split(","):
        millions, steps = models[name]
        for batch in map(int, a.batch.split(",")) if a.batch else BATCH[name]:
            compute, optimizer = one_gpu(steps, batch)
            rows = {"flat": [], "today": [], "could": []}
            for n in gpus:
                alone = compute + optimizer / n
                for way, more in (("flat", flat_ms(a, n, millions * 1e6)),
                                  ("today", today_ms(a, n, millions * 1e6, compute)),
                                  ("could", best_rails(a, n, millions * 1e6, compute)[0])):
                    more += board_ms(a, n)
                    rows[way].append(f"{alone + more:.1f} ms, .{min(999, round(1000 * alone / (alone + more))):03d}")
            head = [f"{name}/2", str(batch), f"{compute + optimizer:.1f} ms"]
            lines.append("| " + " | ".join(head + ["flat"] + rows["flat"]) + " |")
            for way in ("today", "could"):
                lines.append("| " + " | ".join(["", "", "", way] + rows[way]) + " |")
    return lines


def check_worked(a):
    bad = 0
    numbers = MODELS["XL"][0] * 1e6
    for compute, buckets, wire, wanted, tolerance in WORKED:
        for gpus, efficiency in wanted.items():
            alone = compute + 9.35 / gpus
            found = alone / (alone + rails_ms(a, gpus, numbers, compute, buckets, wire))
            good = abs(found - efficiency) <= tolerance
            bad += not good
            if not good or len(sys.argv) == 2:
                print(f"{'ok  ' if good else 'FAIL'} XL/2, {compute} ms, {gpus:,} GPUs, {8 * wire} bit on the"
                      f" wire: {found:.3f}, worked by hand {efficiency:.3f} (within {tolerance})")
    return bad


def main():
    a = read_arguments(sys.argv[1:])
    text = "\n".join(tables(a))
    if a.check is None:
        print(text)
        return 0
    bad = check_worked(a)
    if a.check:
        with open(a.check, encoding="utf-8") as file:
            if text not in file.read():
                bad += 1
                print(f"{a.check} does not hold the table of these arguments:\n{text}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
