#!/usr/bin/env python3
"""Dye and its PyTorch peer in turns on the same cores: ratios of speed, memory and start.

    compare.py --dye DYE --python PYTHON --work FOLDER NAME=CONFIG,DUMP,DATA[+bf16] ...

Called by tests/bench/peer.sh. Each round times dye and every mode of the peer once, odd rounds
forwards and even ones backwards (A B B A), each in a process of its own. All modes are tried once,
the KEPT_MODES best take part, and the peer's rate is that of the one that is best in the median over
the rounds. A measurement during which other programs took more than FOREIGN_MOST of the machine is
repeated, and dropped if it stays so and cleaner ones exist.
"""
import argparse
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

FOREIGN_MOST = 0.05
TRIES = 3
MODES = ["eager", "eager+iomp", "compile", "compile+iomp"]  # +iomp: with Intel's OpenMP, pinned
KEPT_MODES = 2
# glibc gives large blocks back to the kernel and takes them anew, zeroed page by page, at every
# step; with this it keeps them, in large pages.
PEER_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=17179869184:"
                                      "glibc.malloc.trim_threshold=17179869184:"
                                      "glibc.malloc.hugetlb=1"}


def processor_ticks():
    with open("/proc/stat") as file:
        return [int(x) for x in file.readline().split()[1:9]]


def wait_calm(seconds=20):
    """Until other programs take little, or in vain: the measurement will tell."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        before = processor_ticks()
        time.sleep(0.5)
        spent = [b - a for a, b in zip(before, processor_ticks())]
        if sum(spent) - spent[3] - spent[4] <= 0.1 * sum(spent):
            return


class Case:
    def __init__(self, text, arguments):
        self.name, rest = text.split("=", 1)
        self.half = rest.endswith("+bf16")
        self.config, self.dump, self.data = rest.removesuffix("+bf16").split(",")
        self.arguments = arguments
        self.rate = 0.0  # samples/s of the last dye run

    def precision(self):
        return "bf16" if self.half else "fp32"

    def dye(self):
        """dye train for some seconds, in a folder that is removed."""
        seconds = self.arguments.seconds
        folder = tempfile.mkdtemp(dir=self.arguments.work)
        batch = self.batch()
        steps = max(8, 3 + math.ceil(seconds * self.rate / batch))
        command = [self.arguments.dye, "train", self.config, f"data.path={self.data}",
                   f"run.dir={folder}/run", f"train.steps={steps}", "log.every=1",
                   "log.fingerprint_every=0", "eval.every=0", "sample.every=0"]
        if self.half:
            command.append("model.precision=bf16")
        try:
            return self.watch(command, f"{folder}/run/metrics.jsonl")
        finally:
            shutil.rmtree(folder)

    def watch(self, command, metrics):
        started, ticks = time.monotonic(), processor_ticks()
        with open(f"{self.arguments.work}/dye.log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                first = None
                ended = os.WEXITED | os.WNOHANG | os.WNOWAIT  # leaves the end to wait4
                while first is None and os.waitid(os.P_PID, process.pid, ended) is None:
                    time.sleep(0.002)
                    if os.path.exists(metrics) and os.path.getsize(metrics) > 0:
                        first = time.monotonic() - started
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                raise
        if status != 0:
            sys.exit(f"dye failed: {' '.join(command)}\n{open(log.name).read()}")
        spent = [b - a for a, b in zip(ticks, processor_ticks())]
        own = (usage.ru_utime + usage.ru_stime) * os.sysconf("SC_CLK_TCK")
        foreign = max(0.0, sum(spent) - spent[3] - spent[4] - own) / max(1, sum(spent))
        with open(metrics) as file:
            rates = [json.loads(line)["samples_per_s"] for line in file]
        self.rate = statistics.median(rates[2:])
        return {"samples_per_s": self.rate, "first_step_s": first, "foreign_load": foreign,
                "peak_mem_mb": usage.ru_maxrss / 1024}

    def batch(self):
        with open(self.dump, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return json.loads(header["__metadata__"]["facts"])["batch"]

    def peer(self, mode):
        mode, _, openmp = mode.partition("+")
        environment = {**os.environ, **PEER_ENVIRONMENT}
        if openmp:
            environment |= {"LD_PRELOAD": self.arguments.iomp,
                            "KMP_AFFINITY": "granularity=fine,compact"}
        command = [self.arguments.python, os.path.join(os.path.dirname(__file__), "peer.py"),
                   "time", self.dump, "--precision", self.precision(), "--mode", mode,
                   "--seconds", str(self.arguments.seconds)]
        done = subprocess.run(command, env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            sys.exit(f"the peer failed: {' '.join(command)}\n{done.stderr[-3000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def measured(self, who):
        best = None
        for _ in range(TRIES):
            wait_calm()
            found = self.dye() if who == "dye" else self.peer(who)
            if best is None or found["foreign_load"] < best["foreign_load"]:
                best = found
            if best["foreign_load"] <= FOREIGN_MOST:
                break
        return best

    def best_modes(self):
        modes = [mode for mode in MODES if self.arguments.iomp or not mode.endswith("+iomp")]
        rates = {mode: self.measured(mode)["samples_per_s"] for mode in modes}
        print(f"tried {self.name}-{self.precision()}: "
              + ", ".join(f"{mode} {rate:.1f}" for mode, rate in rates.items()), flush=True)
        return sorted(rates, key=rates.get, reverse=True)[:KEPT_MODES]

    def rounds(self):
        who, rounds = ["dye"] + self.best_modes(), []
        self.dye()  # learns the rate, fills the page cache
        for number in range(self.arguments.rounds):
            found = {}
            for name in who if number % 2 == 0 else reversed(who):
                found[name] = self.measured(name)
            rounds.append(found)
            print(f"round {number + 1} {self.name}-{self.precision()}: " + ", ".join(
                f"{name} {found[name]['samples_per_s']:.1f} samples/s (others took "
                f"{100 * found[name]['foreign_load']:.1f} %)" for name in who), flush=True)
        return rounds


def clean(rounds, names):
    kept = [found for found in rounds
            if all(found[name]["foreign_load"] <= FOREIGN_MOST for name in names)]
    return kept or rounds


def median(rounds, name, key):
    return statistics.median(found[name][key] for found in rounds)


def tell(case, rounds, json_path):
    full = f"{case.name}-{case.precision()}"
    modes = [name for name in rounds[0] if name != "dye"]
    mode = max(modes, key=lambda m: median(clean(rounds, [m]), m, "samples_per_s"))
    kept = clean(rounds, ["dye", mode])
    ratios = [found["dye"]["samples_per_s"] / found[mode]["samples_per_s"] for found in kept]
    dye, torch = median(kept, "dye", "samples_per_s"), median(kept, mode, "samples_per_s")
    noisy = "" if all(found[name]["foreign_load"] <= FOREIGN_MOST
                      for found in kept for name in ("dye", mode)) else "; NOT on quiet cores"
    print(f"ratio {full} {statistics.median(ratios):.2f}  (dye {dye:.1f} samples/s, torch"
          f" {torch:.1f} samples/s, mode {mode}; {len(kept)} of {len(rounds)} rounds, "
          f"{min(ratios):.2f}..{max(ratios):.2f}{noisy})")
    memory = median(rounds, "dye", "peak_mem_mb")
    lean = min(modes, key=lambda m: median(rounds, m, "peak_mem_mb"))
    torch_memory = median(rounds, lean, "peak_mem_mb")
    print(f"ratio {full}-memory {memory / torch_memory:.2f}  (dye {memory:.0f} MB, torch"
          f" {torch_memory:.0f} MB in mode {lean}, of which its import"
          f" {median(rounds, lean, 'import_mem_mb'):.0f} MB)")
    first = median(rounds, "dye", "first_step_s")
    quick = min(modes, key=lambda m: median(rounds, m, "first_step_s"))
    torch_first = median(rounds, quick, "first_step_s")
    print(f"ratio {full}-first-step {first / torch_first:.3f}  (dye {first:.2f} s from its start"
          f" to the end of step 1, torch {torch_first:.2f} s in mode {quick})", flush=True)
    if json_path:
        with open(json_path, "a") as file:
            record = {"name": full, "mode": mode, "ratio": statistics.median(ratios),
                      "least": min(ratios), "most": max(ratios), "rounds": rounds,
                      "load": os.getloadavg(), "cores": sorted(os.sched_getaffinity(0))}
            file.write(json.dumps(record) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dye", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--iomp", default="", help="libiomp5.so")
    parser.add_argument("--work", required=True)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--json")
    parser.add_argument("case", nargs="+")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))  # so that what runs is ended too
    for text in arguments.case:
        case = Case(text, arguments)
        tell(case, case.rounds(), arguments.json)


if __name__ == "__main__":
    main()
