#!/usr/bin/env python3
"""Draws with diffusers what Dye has drawn, and compares each frame on the way.

    check_diffusers.py FOLDER FRAMES.npz GUIDANCE TOLERANCE

FOLDER is of `dye export --format diffusers`, FRAMES.npz of `dye sample --frames STEPS+1`: the noise that Dye began at,
each step, and the times. Exit code 77: PyTorch or diffusers are not installed.
"""
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
try:
    import numpy as np
    import torch
    from diffusers import DDIMScheduler, DiTTransformer2DModel, FlowMatchEulerDiscreteScheduler
except ImportError:
    sys.exit(77)


def open_scheduler(folder, time):
    """With the times of Dye's frames, the last but one of which the network was told."""
    import json
    with open(f"{folder}/scheduler/scheduler_config.json") as file:
        kind = json.load(file)["_class_name"]
    if kind == "DDIMScheduler":
        scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
        scheduler.set_timesteps(len(time) - 1)
        # Dye counts steps from 1, diffusers from 0.
        assert np.array_equal(scheduler.timesteps.numpy() + 1, time[:-1]), (scheduler.timesteps, time)
        return scheduler, {"use_clipped_model_output": True}
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(sigmas=list(time[:-1] / 1000))
    return scheduler, {}


def ask(model, x, t, label):
    with torch.no_grad():
        out = model(x, timestep=t.expand(len(x)), class_labels=label).sample
    return out[:, :x.shape[1]]  # behind it: the variance that was learned


def main():
    folder, path, guidance, tolerance = *sys.argv[1:3], float(sys.argv[3]), float(sys.argv[4])
    frames, time = (np.load(path)[name] for name in ("arr_0", "arr_1"))
    model, info = DiTTransformer2DModel.from_pretrained(
        folder, subfolder="transformer", output_loading_info=True)
    wrong = {key: value for key, value in info.items() if value}
    assert not wrong, f"not all tensors have found their place: {wrong}"
    model.eval()
    scheduler, options = open_scheduler(folder, time)
    x = torch.from_numpy(frames[0].copy())
    classes = model.config.num_embeds_ada_norm
    label = torch.arange(len(x)) % classes if classes > 0 else torch.zeros(len(x), dtype=torch.long)
    worst = 0.0
    for i, t in enumerate(scheduler.timesteps):
        told = ask(model, x, t, label)
        if guidance != 1:  # the null class stands behind the others
            null = ask(model, x, t, torch.full_like(label, classes))
            told = null + guidance * (told - null)
        x = scheduler.step(told, t, x, **options).prev_sample
        worst = max(worst, float(np.abs(x.numpy() - frames[i + 1]).max()))
    assert worst <= tolerance, f"a pixel differs by {worst}"
    print(f"{len(frames) - 1} steps of {len(x)} pictures by {type(scheduler).__name__}: "
          f"pixels differ by {worst:.2g} at most")


if __name__ == "__main__":
    main()
