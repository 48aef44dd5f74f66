"""Packs and reads one set with Dye and its peers, in turns; tests/bench/data.sh has the arguments.

    data_compare.py NAME SOURCE --dye PROGRAM --work FOLDER [--rounds N] [--seconds S]

SOURCE is plain: a folder of IDX files or a file of CIFAR-10's records. Runs under the Python that has
the peers. Prints tables, and "ratio NAME X.XX" with Dye's figure over that of the better peer.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import numpy as np

PEER = pathlib.Path(__file__).with_name("data_peer.py")
FORMATS = ("mds", "mds-zstd", "wds", "wds-zstd")
OURS = ("dye", "dye-window")  # with the usual cache; in windows, with one of an eighth of the data
GROUP_BYTES = 1 << 18
BATCH = 256


class Bench:
    def __init__(self, args):
        self.args = args
        self.work = pathlib.Path(args.work)
        self.cores = sorted(os.sched_getaffinity(0))[:2]
        self.plain = self.work / "plain"
        self.raw = 0  # bytes of samples and labels

    def run(self, cores, *command):
        """Seconds and standard output of a command on the first so many cores."""
        pinned = ["taskset", "-c", ",".join(map(str, self.cores[:cores])), *map(str, command)]
        began = time.monotonic()
        done = subprocess.run(pinned, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            sys.exit(f"data: {' '.join(pinned)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        return seconds, done.stdout

    def peer(self, cores, *command):
        _, out = self.run(cores, sys.executable, PEER, *command)
        return json.loads(next(line for line in out.splitlines() if line.startswith("{")))

    def read(self, cores, reader, options):
        if reader in OURS:
            if reader == "dye-window":
                cache = self.raw // 8
                groups = max(1, cache // GROUP_BYTES // 2)  # threads may be in two windows at a time
                options = [*options, f"data.cache={cache}", "data.order=window",
                           f"data.window={groups}"]
            _, out = self.run(cores, self.args.dye, "bench", self.work / "dye", "--seconds",
                              self.args.seconds, "--json", "/dev/stdout", f"train.batch={BATCH}",
                              *options)
            return json.loads(next(line for line in out.splitlines() if line.startswith("{")))
        return self.peer(cores, "read", reader, self.work / reader, "--plain",
                         self.plain / "train-images.npy", "--batch", BATCH, "--seconds",
                         self.args.seconds, *options)


def folder_bytes(folder):
    return sum(p.stat().st_size for p in pathlib.Path(folder).rglob("*") if p.is_file())


# ---- packing ------------------------------------------------------------------------------------

def archive(bench):
    """Seconds to write and to read back `tar | zstd`, and its bytes."""
    out = bench.work / "archive.tar.zst"
    source = pathlib.Path(bench.args.source)
    write, _ = bench.run(1, "sh", "-c", f"tar -C '{source.parent}' -cf - '{source.name}' "
                                        f"| zstd -q -f -T1 -o '{out}'")
    back, _ = bench.run(1, "sh", "-c", f"zstd -dc '{out}' | tar -xO >/dev/null")
    return {"seconds": write, "back": back, "bytes": out.stat().st_size}


def pack_dye(bench):
    out = bench.work / "dye"
    shutil.rmtree(out, ignore_errors=True)
    seconds, _ = bench.run(1, bench.args.dye, "pack", bench.args.source, "-o", out,
                           *bench.args.pack_options.split())
    back, _ = bench.run(1, bench.args.dye, "verify", out)
    return {"seconds": seconds, "back": back, "bytes": folder_bytes(out)}


def pack_all(bench):
    raw = bench.raw
    rows = {name: [] for name in ("dye", *FORMATS, "tar | zstd")}
    for _ in range(bench.args.rounds):
        rows["dye"].append(pack_dye(bench))
        rows["tar | zstd"].append(archive(bench))
        for form in FORMATS:
            rows[form].append(bench.peer(1, "make", form, bench.plain, bench.work / form))
    print(f"\npacking on one core; {raw / 1e6:.1f} MB of samples and labels")
    print(f"{'':12} {'MB/s':>8} {'MB':>8} {'ratio':>6}   decoding, MB/s")
    best = {}
    for name, runs in rows.items():
        seconds = statistics.median(r["seconds"] for r in runs)
        back = f"{raw / 1e6 / statistics.median(r['back'] for r in runs):12.0f}" \
            if "back" in runs[0] else ""
        print(f"{name:12} {raw / 1e6 / seconds:8.1f} {runs[0]['bytes'] / 1e6:8.2f} "
              f"{raw / runs[0]['bytes']:6.2f} {back}")
        best[name] = {"seconds": seconds, "bytes": runs[0]["bytes"]}
        if back:
            best[name]["back"] = float(back)
    return best


def print_packing(name, best):
    ours = best["dye"]
    peers = [best[form] for form in FORMATS]
    size = min(p["bytes"] for p in peers) / ours["bytes"]
    pack = min(p["seconds"] for p in peers) / ours["seconds"]
    tar = best["tar | zstd"]
    print(f"ratio {name}-size {size:.2f} (bytes of the smallest peer over Dye's)")
    print(f"ratio {name}-pack {pack:.2f} (MB/s over the quickest peer's)")
    print(f"ratio {name}-size-tar-zstd {tar['bytes'] / ours['bytes']:.2f}")
    print(f"ratio {name}-pack-tar-zstd {tar['seconds'] / ours['seconds']:.2f}")
    print(f"ratio {name}-decode-tar-zstd {ours['back'] / tar['back']:.2f} (dye verify, which also "
          "hashes everything, over zstd -dc | tar -xO)")


# ---- reading ------------------------------------------------------------------------------------

def choose(bench, reader, cores):
    """The quickest settings in one try each: workers (or threads) first, then the rest."""
    if reader == "dye":
        steps = [[[f"data.threads={n}"] for n in range(1, cores + 1)]]
    else:
        rest = [["--algorithm", a] for a in ("py1e", "py1br", "naive")] \
            if reader == "mds" else [["--decode", d] for d in ("bare", "npy")]
        steps = [[["--workers", str(n)] for n in range(cores + 1)], rest]
    seconds, bench.args.seconds = bench.args.seconds, 1
    chosen = []
    for step in steps:
        tried = [bench.read(cores, reader, chosen + more)["samples_per_s"] for more in step]
        chosen += step[tried.index(max(tried))]
    bench.args.seconds = seconds
    return chosen


def read_all(bench, name):
    readers = (*OURS, *FORMATS)
    for cores in range(1, len(bench.cores) + 1):
        settings = {reader: choose(bench, reader, cores) for reader in ("dye", "mds", "wds")}
        runs = {reader: [] for reader in readers}
        for _ in range(bench.args.rounds):
            for reader in readers:
                runs[reader].append(bench.read(cores, reader, settings[reader[:3]]))
        word = "core" if cores == 1 else "cores"
        print(f"\nreading in shuffled order on {cores} {word}, samples/s: median [least, most]")
        median = {}
        for reader in readers:
            cells = []
            for what in ("first_samples_per_s", "samples_per_s"):
                rates = [r[what] for r in runs[reader]]
                median[reader, what] = statistics.median(rates)
                cells.append(f"{median[reader, what]:9.0f} [{min(rates):.0f}, {max(rates):.0f}]")
            print(f"{reader:10} first epoch {cells[0]:28} then {cells[1]:30} "
                  f"{' '.join(settings[reader[:3]])}")
        for what, title in (("first_samples_per_s", "-first-epoch"), ("samples_per_s", "")):
            peer = max(FORMATS, key=lambda form: median[form, what])
            theirs = median[peer, what]
            for reader in OURS:
                ours, mode = median[reader, what], reader.removeprefix("dye")
                print(f"ratio {name}-read{mode}-{cores}-{word}{title} {ours / theirs:.2f} "
                      f"({reader} {ours:.0f}, {peer} {theirs:.0f} samples/s)", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("source")
    parser.add_argument("--dye", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--pack-options", default="", help="for dye pack, in one word")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    bench = Bench(parser.parse_args())
    bench.run(2, sys.executable, PEER, "plain", bench.args.source, bench.plain)
    bench.raw = sum(np.load(p, mmap_mode="r").nbytes for p in bench.plain.glob("*.npy"))
    print_packing(bench.args.name, pack_all(bench))
    read_all(bench, bench.args.name)


if __name__ == "__main__":
    main()
