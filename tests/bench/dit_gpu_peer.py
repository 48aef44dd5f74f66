#!/usr/bin/env python3
"""The training step that Dye is held against on a GPU: DiT in PyTorch, one JSON line a measurement.

    dit_gpu_peer.py model=XL B=128 [key=value ...]
    torchrun --nproc-per-node 8 dit_gpu_peer.py model=XL B=128 ddp=1
    dit_gpu_peer.py model=T B=8 dev=cpu          a look whether it works, without a GPU
    dit_gpu_peer.py check                        its count of operations against PyTorch's own

    model=S|B|L|XL|T   DiT of patch 2 (arXiv 2212.09748); T: a tiny one
    data=latents|pictures   32 x 32 x 4 of 1,000 classes, or 28 x 28 x 1 of 10
    B=128              samples a step, of each rank
    mode=eager|compile|max-autotune|sweep
    sdpa=auto|flash|cudnn|efficient|math|sweep
    head=v|eps         what is predicted, cosine or linear schedule of 1,000 steps
    precision=bf16|fp32     autocast, weights in fp32
    ddp=0|1            wrapped in DistributedDataParallel, also of one rank
    steps=30 warmup=5 dev=cuda|cpu

A step is: noise and times drawn, forward, MSE, backward, clip by the global norm, fused AdamW, two
averages of the weights (Dye keeps two). The batch lies in the device's memory. A sweep prints a line for
each combination; the last line repeats the fastest with "best": true. What does not run here is a
line with "error".
"""
import contextlib
import json
import math
import os
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

sys.dont_write_bytecode = True  # nothing is left beside the sources
from peer_dit import Dit, FEATURES, noise_schedule, time_features

# width, depth, heads
MODELS = {"T": (64, 2, 4), "S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16),
          "XL": (1152, 28, 16)}
# channels, side, classes
DATA = {"latents": (4, 32, 1000), "pictures": (1, 28, 10)}
MODES = ["eager", "compile", "max-autotune"]
SDPA = ["cudnn", "flash", "efficient", "math"]
DEFAULTS = {"model": "S", "data": "latents", "B": 32, "mode": "eager", "sdpa": "auto", "head": "v",
            "precision": "bf16", "ddp": 0, "steps": 30, "warmup": 5, "dev": "cuda"}
PATCH, RATIO, STEPS = 2, 4, 1000


def process_age():
    with open("/proc/self/stat") as file:
        started = int(file.read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def forward_flops(width, depth, channels, side, patch=PATCH, ratio=RATIO):
    """Of one sample; a multiply-add is 2. Training costs three times that."""
    tokens, patch_in = (side // patch) ** 2, channels * patch * patch
    block = tokens * (8 + 4 * ratio) * width**2 + 4 * tokens**2 * width + 12 * width**2
    ends = 4 * tokens * width * patch_in
    return depth * block + ends + 2 * (FEATURES * width + width**2 + 2 * width**2)


def make_model(name, data):
    width, depth, heads = MODELS[name]
    channels, side, classes = DATA[data]
    model = {"width": width, "depth": depth, "heads": heads, "patch": PATCH, "mlp_ratio": RATIO,
             "timestep_freq": "div-128"}
    shape = {"tokens": False, "channels": channels, "height": side, "width": side,
             "out_channels": channels, "classes": classes}
    return Dit(model, shape), model, shape


class Training:
    def __init__(self, a):
        self.a, self.device = a, torch.device(a["dev"])
        self.device_type = self.device.type
        model, facts, self.shape = make_model(a["model"], a["data"])
        self.model = model.to(self.device)
        self.params = list(self.model.parameters())
        if a["ddp"]:
            self.model = nn.parallel.DistributedDataParallel(
                self.model, gradient_as_bucket_view=True, static_graph=True)
        groups = [{"params": [p for p in self.params if p.ndim > 1], "weight_decay": 0.01},
                  {"params": [p for p in self.params if p.ndim == 1], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=True)
        self.averages = [[p.detach().clone() for p in self.params] for _ in range(2)]
        schedule = {"name": "ddpm", "steps": STEPS, "schedule": "cosine" if a["head"] == "v" else "linear"}
        keep = torch.cumprod(torch.from_numpy(1 - noise_schedule(schedule)), 0)
        self.signal = keep.sqrt().float().to(self.device)
        self.noise = (1 - keep).sqrt().float().to(self.device)
        self.features = time_features(torch.arange(1, STEPS + 1), facts).float().to(self.device)
        channels, side, classes = DATA[a["data"]]
        self.x_0 = torch.randn(a["B"], channels, side, side, device=self.device)
        self.label = torch.randint(0, classes, (a["B"],), device=self.device)
        self.loss = self.eager_loss
        if a["mode"] != "eager":
            mode = None if a["mode"] == "compile" else a["mode"]
            self.loss = torch.compile(self.eager_loss, mode=mode)

    def eager_loss(self, x_0, label):
        samples = x_0.shape[0]
        t = torch.randint(0, STEPS, (samples,), device=x_0.device)
        signal, noise = self.signal[t][:, None, None, None], self.noise[t][:, None, None, None]
        eps = torch.randn_like(x_0)
        dropped = torch.rand(samples, device=x_0.device) < 0.1
        label = torch.where(dropped, self.shape["classes"], label)
        target = signal * eps - noise * x_0 if self.a["head"] == "v" else eps
        half = self.a["precision"] == "bf16"
        with torch.autocast(self.device_type, torch.bfloat16, enabled=half):
            out = self.model(signal * x_0 + noise * eps, self.features[t], label)
        return F.mse_loss(out.float(), target)

    def step(self):
        if self.a["mode"] == "max-autotune":
            torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.x_0, self.label)
        loss.backward()
        nn.utils.clip_grad_norm_(self.params, 1.0, foreach=True)
        self.optimizer.step()
        with torch.no_grad():
            for average, share in zip(self.averages, (1e-3, 1e-4)):
                torch._foreach_lerp_(average, self.params, share)
        return loss.detach()


# ---- measuring -----------------------------------------------------------------------------------

def choose_sdpa(name):
    if name == "auto":
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel
    return sdpa_kernel({"flash": SDPBackend.FLASH_ATTENTION, "math": SDPBackend.MATH,
                        "cudnn": SDPBackend.CUDNN_ATTENTION,
                        "efficient": SDPBackend.EFFICIENT_ATTENTION}[name])


def timed_steps(training, count):
    """Milliseconds of each step."""
    if training.device_type != "cuda":
        spent = []
        for _ in range(count):
            began = time.perf_counter()
            training.step()
            spent.append(1e3 * (time.perf_counter() - began))
        return spent
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    marks[0].record()
    for mark in marks[1:]:
        training.step()
        mark.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in zip(marks, marks[1:])]


def peak_gb(cuda):
    if cuda:
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(a, imported):
    began, cuda = time.perf_counter(), a["dev"] == "cuda"
    torch.manual_seed(0)
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with choose_sdpa(a["sdpa"]):
        training = Training(a)
        loss = float(training.step())
        first = imported + time.perf_counter() - began
        for _ in range(a["warmup"]):
            loss = training.step()
        spent = sorted(timed_steps(training, a["steps"]))
    median = statistics.median(spent)
    channels, side, _ = DATA[a["data"]]
    gflop = 3 * forward_flops(*MODELS[a["model"]][:2], channels, side) / 1e9
    return {
        "model": a["model"], "data": a["data"], "batch": a["B"], "mode": a["mode"],
        "sdpa": a["sdpa"], "head": a["head"], "precision": a["precision"], "ddp": a["ddp"],
        "step_ms_median": round(median, 3), "p10": round(spent[len(spent) // 10], 3),
        "p90": round(spent[min(len(spent) - 1, len(spent) * 9 // 10)], 3), "steps": len(spent),
        "samples_per_s": round(1e3 * a["B"] / median, 2),
        "tflops": round(gflop * a["B"] / median, 3), "gflop_per_sample": round(gflop, 3),
        "parameters": sum(p.numel() for p in training.params),
        "first_step_s": round(first, 2), "peak_mem_gb": round(peak_gb(cuda), 3),
        "loss": round(float(loss), 5), "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else "cpu"}


def sweep(a, imported):
    lines = []
    for mode in MODES if a["mode"] == "sweep" else [a["mode"]]:
        for sdpa in SDPA if a["sdpa"] == "sweep" else [a["sdpa"]]:
            one = {**a, "mode": mode, "sdpa": sdpa}
            try:
                lines.append(measure(one, imported))
                print(json.dumps(lines[-1]), flush=True)
            except Exception as error:  # a backend that is not there, or memory that does not suffice
                text = str(error).strip().split("\n")[0][:200]
                print(json.dumps({"model": a["model"], "batch": a["B"], "mode": mode, "sdpa": sdpa,
                                  "error": f"{type(error).__name__}: {text}"}), flush=True)
            torch.compiler.reset()
    if len(lines) > 1:
        print(json.dumps({**min(lines, key=lambda line: line["step_ms_median"]), "best": True}))
    return 0 if lines else 1


# ---- check ---------------------------------------------------------------------------------------

def check():
    """The formula against the products that PyTorch counts in a forward pass."""
    from torch.utils.flop_counter import FlopCounterMode
    good = True
    for name, data in (("T", "latents"), ("T", "pictures"), ("S", "latents"), ("B", "pictures")):
        model, _, shape = make_model(name, data)
        x = torch.randn(3, shape["channels"], shape["height"], shape["width"])
        with torch.no_grad(), FlopCounterMode(display=False) as counter, choose_sdpa("math"):
            model(x, torch.randn(3, FEATURES), torch.zeros(3, dtype=torch.long))
        counted = counter.get_total_flops() / 3
        formula = forward_flops(*MODELS[name][:2], shape["channels"], shape["height"])
        good = good and counted == formula
        print(f"{'ok  ' if counted == formula else 'FAIL'} {name}/{PATCH} {data}: formula"
              f" {formula / 1e9:.6f} GFLOP a sample, counted {counted / 1e9:.6f}")
    return 0 if good else 1


def read_words(words):
    a = dict(DEFAULTS)
    known = {"model": MODELS, "data": DATA, "mode": MODES + ["sweep"],
             "sdpa": ["auto", "sweep"] + SDPA, "head": ["v", "eps"], "precision": ["bf16", "fp32"],
             "dev": ["cuda", "cpu"]}
    for word in words:
        key, found, value = word.partition("=")
        if not found or key not in a or (key in known and value not in known[key]):
            sys.exit(f"dit_gpu_peer.py: not understood: {word}\n{__doc__}")
        a[key] = value if key in known else int(value)
    return a


def main():
    if sys.argv[1:] == ["check"]:
        return check()
    a = read_words(sys.argv[1:])
    if a["dev"] == "cuda" and not torch.cuda.is_available():
        print("dit_gpu_peer.py: PyTorch sees no GPU (dev=cpu runs without one)", file=sys.stderr)
        return 77
    torch.set_float32_matmul_precision("high")
    rank = int(os.environ.get("RANK", 0))
    if a["dev"] == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    if a["ddp"]:
        backend = "nccl" if a["dev"] == "cuda" else "gloo"
        alone = {} if "RANK" in os.environ else {"store": torch.distributed.HashStore(), "rank": 0,
                                                 "world_size": 1}
        torch.distributed.init_process_group(backend, **alone)
    if rank > 0:
        sys.stdout = open(os.devnull, "w")
    code = sweep(a, process_age())
    if a["ddp"]:
        torch.distributed.destroy_process_group()
    return code


if __name__ == "__main__":
    sys.exit(main())
