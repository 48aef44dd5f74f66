#!/usr/bin/env python3
"""Compares exported weights with a checkpoint, without Dye.

    check_export.py EXPORTED.safetensors STEP_FOLDER KIND    KIND: weight, ema_0, ema_1

Needs NumPy and the safetensors package, and tells by exit code 77 where they are not installed.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    from safetensors import safe_open
except ImportError:
    sys.exit(77)


def main():
    path, folder, kind = sys.argv[1:]
    with tempfile.TemporaryDirectory() as out:
        reader = Path(__file__).with_name("read_checkpoint.py")
        subprocess.run([sys.executable, reader, folder, out], check=True, stdout=subprocess.DEVNULL)
        flat = np.fromfile(Path(out) / f"{kind}.f32", dtype="<f4")
    at = 0
    with safe_open(path, framework="np") as file:
        # In the order of their data, which is that of the flat vector; DiT's positions stand before it.
        names = sorted((n for n in file.keys() if n != "pos_embed"), key=lambda n: order_of(path)[n])
        for name in names:
            tensor = file.get_tensor(name)
            assert tensor.dtype == np.float32, tensor.dtype
            expected = flat[at:at + tensor.size]
            if name == "t_embedder.mlp.0.weight" and "pos_embed" in file.keys():
                assert np.allclose(tensor, turned(expected.reshape(tensor.shape)), rtol=0, atol=1e-7), name
            else:
                assert np.array_equal(tensor.ravel(), expected), f"{name} differs"
            at += tensor.size
        assert at == flat.size, f"{at} of {flat.size} numbers"
        print(f"{len(names)} tensors, {at} numbers equal, metadata {file.metadata()}")


def turned(weight):
    """Dye counts steps from 1, the original DiT from 0: W' (cos a, sin a) = W (cos(a + f), sin(a + f))."""
    f = np.exp(-np.log(10000) * np.arange(128) / 128)
    by_cos, by_sin = weight[:, :128].astype(np.float64), weight[:, 128:].astype(np.float64)
    return np.concatenate([by_cos * np.cos(f) + by_sin * np.sin(f), by_sin * np.cos(f) - by_cos * np.sin(f)], 1)


def order_of(path, known={}):
    import json
    if path not in known:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        known[path] = {name: entry["data_offsets"][0] for name, entry in header.items()}
    return known[path]


if __name__ == "__main__":
    main()
