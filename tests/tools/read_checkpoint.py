#!/usr/bin/env python3
"""Reads a Dye checkpoint without Dye: NumPy, the zstd program, and docs/checkpoint-format.md.

    read_checkpoint.py STEP_FOLDER            prints what it holds
    read_checkpoint.py STEP_FOLDER OUT_FOLDER also writes OUT_FOLDER/KIND.f32, little-endian fp32

If the safetensors package is installed, it must read the same from every part.
"""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

try:
    from safetensors.numpy import load as safetensors_load
except ImportError:
    safetensors_load = None


def read_part(path, entry):
    """The planes of each kind: {kind: U8 [4, n]}."""
    assert path.stat().st_size == entry["bytes"], f"{path}: wrong size"
    content = subprocess.run(["zstd", "-dc", path], check=True, stdout=subprocess.PIPE).stdout
    assert len(content) == entry["raw"], f"{path}: wrong decoded size"
    header_bytes = int.from_bytes(content[:8], "little")
    header = json.loads(content[8:8 + header_bytes])
    metadata = header.pop("__metadata__")
    assert metadata["format"] == "pt"
    assert int(metadata["first"]) == entry["first"] and int(metadata["count"]) == entry["count"]
    assert metadata["planes"].split(",") == list(header)
    data, planes = content[8 + header_bytes:], {}
    for kind, tensor in header.items():
        begin, end = tensor["data_offsets"]
        assert tensor["dtype"] == "U8" and tensor["shape"] == [4, entry["count"]]
        planes[kind] = data[begin:end]
    if safetensors_load is not None:
        for kind, tensor in safetensors_load(content).items():
            assert tensor.tobytes() == planes[kind], f"{path}: safetensors reads another {kind}"
    return planes


def join(raw, n):
    return np.frombuffer(raw, 'u1').reshape(4, n).T.copy().view('<f4').ravel()


def read_checkpoint(folder):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format"] == "dye-checkpoint" and manifest["version"] == 1
    numbers = {kind: [] for kind in manifest["kinds"]}
    for entry in manifest["parts"]:
        planes = read_part(folder / entry["name"], entry)
        for kind in numbers:
            numbers[kind].append(join(planes[kind], entry["count"]))
    return manifest, {kind: np.concatenate(list_) for kind, list_ in numbers.items()}


def main():
    folder = Path(sys.argv[1])
    manifest, numbers = read_checkpoint(folder)
    weight = numbers["weight"]
    assert len(weight) == manifest["elements"]
    print(f"step {manifest['step']}, {manifest['elements']} elements in"
          f" {len(manifest['parts'])} parts; read with"
          f" {'safetensors, too' if safetensors_load else 'NumPy alone'}")
    for tensor in manifest["tensors"]:
        size = int(np.prod(tensor["shape"]))
        values = weight[tensor["offset"]:tensor["offset"] + size].reshape(tensor["shape"])
        print(f"  {tensor['name']} {list(values.shape)}")
    if len(sys.argv) > 2:
        for kind, values in numbers.items():
            values.astype("<f4").tofile(Path(sys.argv[2]) / f"{kind}.f32")


main()
