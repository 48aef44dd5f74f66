#!/usr/bin/env python3
"""The same training step in PyTorch: what Dye's numbers and its speed are held against.

    peer.py check DUMP.safetensors...       loss and gradients of a step of Dye's, recomputed here
    peer.py time DUMP.safetensors [...]     the same model trained on the same batch: one JSON line

DUMP is what dump_step writes: the configuration, one batch with its corruption, all weights and
their gradients. Needs torch and numpy; tests/bench/peer.sh makes an environment that has them.
"""
import argparse
import json
import math
import os
import resource
import statistics
import sys
import time

import numpy as np
import torch
from torch import nn

sys.dont_write_bytecode = True  # nothing is left beside the sources
from peer_dit import Dit, gaussian_loss, multinomial_loss, noise_schedule, time_features

NUMPY = {"F32": np.float32, "F64": np.float64, "I32": np.int32}
# Largest difference to float64 over the largest number of the tensor. A unit in the last place is
# 6e-8 and 4e-3; a gradient passes some tens of roundings, of which most cancel.
TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2}


# ---- a step of training --------------------------------------------------------------------------

class Training:
    """Everything between a batch in memory and the averages of the weights."""

    def __init__(self, facts, precision):
        self.facts, self.precision = facts, precision
        self.model = Dit(facts["model"], facts["shape"])
        self.params = list(self.model.parameters())
        optim = facts["optim"]
        groups = [{"params": [p for p in self.params if p.ndim > 1], "weight_decay": optim["decay"]},
                  {"params": [p for p in self.params if p.ndim == 1], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=optim["lr"] / 100, eps=optim["eps"],
                                           betas=(optim["beta1"], optim["beta2"]), fused=True)
        self.averages = [[p.detach().clone() for p in self.params] for _ in range(2)]
        process, shape = facts["process"], facts["shape"]
        step_keep = torch.from_numpy(1 - noise_schedule(process))
        keep = torch.cumprod(step_keep, 0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), keep[:-1]])
        self.table = [x.float() for x in (keep, before, step_keep)]
        moments = torch.arange(1, process["steps"] + 1) * 1000 / process["steps"]
        self.features = time_features(moments, facts["model"]).float()
        self.items = math.prod((shape["length"],) if shape["tokens"] else
                               (shape["channels"], shape["height"], shape["width"]))

    def loss(self, x_0, label):
        process, shape, samples = self.facts["process"], self.facts["shape"], x_0.shape[0]
        t = torch.randint(0, process["steps"], (samples,))
        keep, before, step_keep = (x[t] for x in self.table)
        label = torch.where(torch.rand(samples) < process["label_drop"], shape["classes"], label)
        features = self.features[t]
        if shape["tokens"]:
            x_t = torch.where(torch.rand(x_0.shape) < keep[:, None], x_0,
                              torch.randint(0, shape["vocabulary"], x_0.shape))
        else:
            signal, noise = keep.sqrt()[:, None, None, None], (1 - keep).sqrt()[:, None, None, None]
            eps = torch.randn_like(x_0)
            x_t = signal * x_0 + noise * eps
            target = {"v": signal * eps - noise * x_0, "eps": eps, "x0": x_0}[process["head"]]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            out = self.model(x_t, features, label)
        if shape["tokens"]:
            loss = multinomial_loss(out.float(), x_0, x_t, before, step_keep, process["steps"])
        else:
            loss = gaussian_loss(out.float(), target, 1.0)
        return loss.sum() / (samples * self.items)

    def step(self, x_0, label):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(x_0, label)
        loss.backward()
        nn.utils.clip_grad_norm_(self.params, self.facts["optim"]["clip"], foreach=True)
        self.optimizer.step()
        with torch.no_grad():
            for average in self.averages:
                torch._foreach_lerp_(average, self.params, 0.01)
        return loss.detach()


# ---- dumps ---------------------------------------------------------------------------------------

def read_dump(path, names=None):
    """The facts, and every tensor (or those named) by its name."""
    tensors = {}
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        metadata = header.pop("__metadata__")
        for name, entry in header.items():
            if names is not None and name not in names:
                continue
            begin, end = entry["data_offsets"]
            file.seek(8 + size + begin)
            array = np.frombuffer(bytearray(file.read(end - begin)), NUMPY[entry["dtype"]])
            tensors[name] = torch.from_numpy(array.reshape(entry["shape"]))
    return json.loads(metadata["facts"]), tensors


def group(tensors, prefix):
    return {name[len(prefix):]: x for name, x in tensors.items() if name.startswith(prefix)}


# ---- check ---------------------------------------------------------------------------------------

def recompute(facts, tensors, dtype, autocast=False):
    """Output, losses and gradients of the dumped step in this arithmetic."""
    model = Dit(facts["model"], facts["shape"]).to(dtype)
    model.load_state_dict(group(tensors, "param/"))  # strict: names and shapes are compared
    level = {name: x.to(dtype) for name, x in group(tensors, "level/").items()}
    x_t, x_0 = tensors["x_t"], tensors["x_0"]
    x_t, x_0 = (x.long() if facts["shape"]["tokens"] else x.to(dtype) for x in (x_t, x_0))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = model(x_t, tensors["features"].to(dtype), tensors["label"].long()).to(dtype)
    if facts["shape"]["tokens"]:
        loss = multinomial_loss(out, x_0, x_t, level["keep_before"], level["step_keep"],
                                level["weight"])
    else:
        loss = gaussian_loss(out, tensors["target"].to(dtype), level["weight"])
    loss.sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    return {"out": out.detach(), "loss": loss.detach(), **grads}


def expected_inputs(facts, tensors):
    """Pairs (name, dumped, recomputed) of what the network is given."""
    process, level = facts["process"], group(tensors, "level/")
    t = tensors["time"].long()
    step_keep = torch.from_numpy(1 - noise_schedule(process))
    keep = torch.cumprod(step_keep, 0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), keep[:-1]])
    moment = tensors["time"] * 1000 / process["steps"]
    yield "features", tensors["features"], time_features(moment, facts["model"])
    if process["name"] == "multinomial":
        yield "keep", level["keep"], keep[t - 1]
        yield "step_keep", 1 - level["step_keep"], 1 - step_keep[t - 1]
        yield "keep_before", level["keep_before"], before[t - 1]
        yield "weight", level["weight"], torch.full_like(level["weight"], process["steps"])
        return
    signal, noise = keep[t - 1].sqrt(), (1 - keep[t - 1]).sqrt()
    yield "keep", level["keep"], signal
    yield "noise", level["noise"], noise
    signal, noise = (x[:, None, None, None] for x in (signal, noise))
    x_0, x_t = tensors["x_0"].double(), tensors["x_t"].double()
    eps = (x_t - signal * x_0) / noise
    target = {"v": signal * eps - noise * x_0, "eps": eps, "x0": x_0}[process["head"]]
    # Where there is little noise, eps is known from x_t to its rounding over that noise only.
    yield "target", tensors["target"] * noise, target * noise
    yield "variance of eps", torch.ones(1) / 2, torch.var(eps) / 2


def error_of(mine, theirs):
    """Largest difference over the largest number of the tensor."""
    difference = (mine.double() - theirs.double()).abs().max()
    return float(difference / theirs.double().abs().max().clamp_min(1e-30))


def worst_of(mine, theirs):
    return max((error_of(mine[name], theirs[name]), name) for name in theirs)


def check_dump(path, broken):
    """What is wrong with a dump, as texts."""
    facts, tensors = read_dump(path)
    precision = facts["model"]["precision"]
    dye = {"out": tensors["out"], "loss": tensors["loss"], **group(tensors, "grad/")}
    if broken:
        dye[broken] = dye[broken] * 1.05
    failures = []

    def judge(what, error, limit):
        good = error <= limit  # not so for what is no number
        if not good or limit == TOLERANCE[precision]:
            print(f"{'ok  ' if good else 'FAIL'} {what}: {error:.2e} (at most {limit:.0e})")
        if not good:
            failures.append(what)

    for name, dumped, mine in expected_inputs(facts, tensors):
        judge(name, error_of(dumped, mine), 0.2 if name.startswith("variance") else 2e-6)
    exact = recompute(facts, tensors, torch.float64)
    rounded = recompute(facts, tensors, torch.float32, autocast=precision == "bf16")
    if dye.keys() != exact.keys():
        return failures + [f"other tensors than here: {sorted(dye.keys() ^ exact.keys())}"]
    error, name = worst_of(dye, exact)
    judge(f"dye {precision} against float64, worst tensor {name}", error, TOLERANCE[precision])
    error, name = worst_of(rounded, exact)
    print(f"     torch {precision} against float64, worst tensor {name}: {error:.2e}")
    error, name = worst_of(dye, rounded)
    print(f"     dye against torch {precision}, worst tensor {name}: {error:.2e}")
    print(f"     sum of losses: dye {float(dye['loss'].double().sum()):.9g},"
          f" float64 {float(exact['loss'].sum()):.9g}")
    return failures


def check(arguments):
    failed = False
    for path in arguments.dump:
        failures = check_dump(path, arguments.broken)
        failed = failed or bool(failures)
        print(f"parity {'FAILED' if failures else 'good'}: {os.path.basename(path)}"
              + "".join(f"; {text}" for text in failures))
    return 1 if failed else 0


# ---- time ----------------------------------------------------------------------------------------

def foreign_load(before, after, own_seconds):
    """Share of the machine's time that other programs (or other machines) took between two looks."""
    spent = [b - a for a, b in zip(before, after)]
    idle = spent[3] + spent[4]
    return max(0.0, sum(spent) - idle - own_seconds * os.sysconf("SC_CLK_TCK")) / max(1, sum(spent))


def processor_ticks():
    with open("/proc/stat") as file:
        return [int(x) for x in file.readline().split()[1:9]]


def process_age():
    with open("/proc/self/stat") as file:
        started = int(file.read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def measure(training, x_0, label, seconds):
    training.step(x_0, label)
    first = process_age()
    for _ in range(2):
        training.step(x_0, label)
    spent, ticks, own = [], processor_ticks(), time.process_time()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(spent) < 3:
        started = time.perf_counter()
        training.step(x_0, label)
        spent.append(time.perf_counter() - started)
    return first, spent, foreign_load(ticks, processor_ticks(), time.process_time() - own)


def machine_facts():
    return {"torch": torch.__version__, "threads": torch.get_num_threads(),
            "mkldnn": torch.backends.mkldnn.is_available(),
            "amx": bool(torch.cpu._is_amx_tile_supported()),
            "avx512_bf16": bool(torch.cpu._is_avx512_bf16_supported()),
            "capability": torch.backends.cpu.get_cpu_capability()}


def peak_mb():
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def timed(arguments):
    imported_mb = peak_mb()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    facts, tensors = read_dump(arguments.dump, ("x_0", "label"))
    training = Training(facts, arguments.precision)
    x_0 = tensors["x_0"].long() if facts["shape"]["tokens"] else tensors["x_0"]
    label, batch = tensors["label"].long(), x_0.shape[0]
    if arguments.mode != "eager":
        training.loss = torch.compile(
            training.loss, mode=None if arguments.mode == "compile" else arguments.mode)
    first, spent, foreign = measure(training, x_0, label, arguments.seconds)
    median = statistics.median(spent)
    print(json.dumps({
        "samples_per_s": round(batch / median, 2), "samples_per_s_best": round(batch / min(spent), 2),
        "step_ms": round(median * 1e3, 3), "steps": len(spent), "batch": batch,
        "first_step_s": round(first, 3), "foreign_load": round(foreign, 4),
        "peak_mem_mb": peak_mb(), "import_mem_mb": imported_mb,
        "precision": arguments.precision, "mode": arguments.mode, **machine_facts()}))
    if arguments.profile:
        with torch.profiler.profile() as profile:
            for _ in range(5):
                training.step(x_0, label)
        table = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=25)
        print(table, file=sys.stderr)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("check")
    command.add_argument("dump", nargs="+")
    command.add_argument("--broken", metavar="TENSOR",
                         help="takes this one times 1.05 first: the check must then fail")
    command = commands.add_parser("time")
    command.add_argument("dump")
    command.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    command.add_argument("--mode", choices=["eager", "compile", "max-autotune"], default="eager")
    command.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    command.add_argument("--seconds", type=float, default=5)
    command.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    return check(arguments) if arguments.command == "check" else timed(arguments)


if __name__ == "__main__":
    sys.exit(main())
