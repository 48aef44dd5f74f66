"""Dye's DiT and its two losses in PyTorch: parameter names are those of the original DiT."""
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FEATURES = 256


# ---- model ---------------------------------------------------------------------------------------

class Parts(nn.Module):
    """Submodules by name, so that parameters are called as in the original DiT."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name.lstrip("_"), part)


def positions(n, count):
    angle = np.arange(count)[:, None] * 10000.0 ** (-np.arange(n // 2) / (n // 2))
    return np.concatenate([np.sin(angle), np.cos(angle)], 1)


def modulated(x, shift, scale):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    def __init__(self, width, heads, ratio):
        super().__init__()
        self.heads = heads
        self.adaLN_modulation = Parts(_1=nn.Linear(width, 6 * width))
        self.attn = Parts(qkv=nn.Linear(width, 3 * width), proj=nn.Linear(width, width))
        self.mlp = Parts(fc1=nn.Linear(width, ratio * width), fc2=nn.Linear(ratio * width, width))

    def attention(self, x):
        samples, tokens, width = x.shape
        qkv = self.attn.qkv(x).view(samples, tokens, 3, self.heads, width // self.heads)
        y = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4).unbind(0))
        return self.attn.proj(y.transpose(1, 2).reshape(x.shape))

    def forward(self, x, active):
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = getattr(
            self.adaLN_modulation, "1")(active).chunk(6, 1)
        x = x + gate_1[:, None] * self.attention(modulated(x, shift_1, scale_1))
        hidden = F.gelu(self.mlp.fc1(modulated(x, shift_2, scale_2)), approximate="tanh")
        return x + gate_2[:, None] * self.mlp.fc2(hidden)


class Dit(nn.Module):
    def __init__(self, model, shape):
        super().__init__()
        width, patch, out = model["width"], model["patch"], shape["out_channels"]
        self.tokens, self.patch, self.shape = bool(shape["tokens"]), patch, shape
        if self.tokens:
            self.x_embedder = Parts(table=nn.Embedding(shape["vocabulary"], width // patch),
                                    proj=nn.Linear(width, width))
            place = positions(width, shape["length"] // patch)
            patch_out = out * patch
        else:  # a convolution in the original
            rows, columns = shape["height"] // patch, shape["width"] // patch
            self.x_embedder = Parts(proj=nn.Conv2d(shape["channels"], width, patch, patch))
            place = np.concatenate([np.tile(positions(width // 2, columns), (rows, 1)),
                                    np.repeat(positions(width // 2, rows), columns, 0)], 1)
            patch_out = out * patch * patch
        self.register_buffer("place", torch.from_numpy(place).float(), persistent=False)
        self.t_embedder = Parts(mlp=nn.Sequential(nn.Linear(FEATURES, width), nn.SiLU(),
                                                  nn.Linear(width, width)))
        self.y_embedder = Parts(embedding_table=nn.Embedding(shape["classes"] + 1, width))
        self.blocks = nn.ModuleList(Block(width, model["heads"], model["mlp_ratio"])
                                    for _ in range(model["depth"]))
        self.final_layer = Parts(adaLN_modulation=Parts(_1=nn.Linear(width, 2 * width)),
                                 linear=nn.Linear(width, patch_out))

    def embed(self, x):
        if self.tokens:
            samples, length = x.shape
            return self.x_embedder.proj(
                self.x_embedder.table(x).view(samples, length // self.patch, -1))
        samples, channels, height, width = x.shape
        p, proj = self.patch, self.x_embedder.proj
        x = x.view(samples, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        x = x.reshape(samples, (height // p) * (width // p), channels * p * p)
        return F.linear(x, proj.weight.flatten(1), proj.bias)

    def unpatch(self, y):
        if self.tokens:
            return y.reshape(y.shape[0], self.shape["length"], -1)
        p, height, width = self.patch, self.shape["height"], self.shape["width"]
        y = y.view(y.shape[0], height // p, width // p, p, p, -1).permute(0, 5, 1, 3, 2, 4)
        return y.reshape(y.shape[0], -1, height, width)

    def forward(self, x, features, label):
        active = F.silu(self.t_embedder.mlp(features) + self.y_embedder.embedding_table(label))
        x = self.embed(x) + self.place
        for block in self.blocks:
            x = block(x, active)
        shift, scale = getattr(self.final_layer.adaLN_modulation, "1")(active).chunk(2, 1)
        return self.unpatch(self.final_layer.linear(modulated(x, shift, scale)))


def time_features(moment, model):
    """moment: 1000 t, float64."""
    divisor = 127 if model["timestep_freq"] == "div-127" else 128
    frequency = torch.exp(-math.log(10000.0) * torch.arange(128, dtype=torch.float64) / divisor)
    angle = moment.double()[:, None] * frequency
    return torch.cat([torch.cos(angle), torch.sin(angle)], 1)


# ---- processes -----------------------------------------------------------------------------------

def noise_schedule(process):
    """Step noises b_1..b_T in float64."""
    steps, name = process["steps"], process["schedule"]
    angle = (np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2
    ratio = np.cos(angle[1:]) / np.cos(angle[:-1])
    if process["name"] == "multinomial":
        return 1 - np.sqrt(np.maximum(ratio * ratio, 0.001))
    if name == "cosine":
        return np.minimum(1 - ratio * ratio, 0.999)
    return 1000 / steps * np.linspace(1e-4, 0.02, steps)


def gaussian_loss(out, target, weight):
    """One number a sample."""
    return weight * (out - target).square().flatten(1).sum(1)


def multinomial_loss(logits, x_0, x_t, keep_before, step_keep, weight):
    """KL(q(x_{t-1}|x_t,x_0) || the same with the network's softmax for x_0), one number a sample.

    With u = a x_t + (1-a)/K, v = A x_0 + (1-A)/K, w = A p + (1-A)/K:
    q = u v / Zq and KL = sum q (log v - log w) + log Zp - log Zq.
    """
    classes = logits.shape[-1]
    keep, a = keep_before[:, None, None], step_keep[:, None]
    rest, u_rest = (1 - keep) / classes, (1 - a) / classes
    log_w = torch.logaddexp(torch.log_softmax(logits, -1) + torch.log(keep), torch.log(rest))
    same = (x_0 == x_t).to(logits.dtype)
    v_here, v_rest = keep[..., 0] + rest[..., 0], rest[..., 0]
    z_q = u_rest + a * torch.where(x_0 == x_t, v_here, v_rest)
    log_w_0 = log_w.gather(-1, x_0[..., None])[..., 0]
    log_w_t = log_w.gather(-1, x_t[..., None])[..., 0]
    q_0 = (u_rest + a * same) * v_here / z_q
    q_t = (u_rest + a) * v_rest / z_q * (1 - same)  # x_t where it is not x_0
    q_else = u_rest * v_rest / z_q
    log_v_rest = torch.log(v_rest.clamp_min(1e-300 if logits.dtype == torch.float64 else 1e-37))
    others = log_w.sum(-1) - log_w_0 - log_w_t * (1 - same)
    cross = q_0 * (torch.log(v_here) - log_w_0) + q_t * (log_v_rest - log_w_t)
    cross = cross + q_else * ((classes - 2 + same) * log_v_rest - others)
    z_p = u_rest + a * log_w_t.exp()
    return weight * (cross + torch.log(z_p) - torch.log(z_q)).sum(1)
