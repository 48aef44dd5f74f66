#!/usr/bin/env python3
"""Made-up data to time steps on, with nothing but Python: what is in them changes no step's time.

    gpu_data.py latents FILE.npz    1,024 latents [4, 32, 32] of float16, 1,000 classes
    gpu_data.py pictures FOLDER     1,024 grey pictures of 28 x 28 in 10 classes, as IDX files

`dye pack FILE.npz --image latents --label labels -o DIR` and `dye pack FOLDER -o DIR` make data sets of
them.
"""
import math
import os
import random
import struct
import sys
import zipfile

SAMPLES = 1024


def npy(kind, dims, data):
    head = repr({"descr": kind, "fortran_order": False, "shape": tuple(dims)})
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data


def normal_halves(count, chance):
    """256 quantiles of the normal distribution, drawn at random."""
    grid = [-6 + 12 * i / 4095 for i in range(4096)]
    levels = []
    for x in grid:
        while len(levels) < 256 and 0.5 * (1 + math.erf(x / math.sqrt(2))) >= (len(levels) + 0.5) / 256:
            levels.append(x)
    levels += [3.0] * (256 - len(levels))
    table = [struct.pack("<e", x) for x in levels]
    return b"".join(table[b] for b in chance.randbytes(count))


def make_latents(path):
    chance = random.Random(0)
    dims = (SAMPLES, 4, 32, 32)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("latents.npy", npy("<f2", dims, normal_halves(math.prod(dims), chance)))
        labels = struct.pack(f"<{SAMPLES}i", *(i % 1000 for i in range(SAMPLES)))
        file.writestr("labels.npy", npy("<i4", (SAMPLES,), labels))


def make_pictures(folder):
    chance = random.Random(0)
    os.makedirs(folder, exist_ok=True)
    for name, count in (("train", SAMPLES), ("t10k", 64)):
        for kind, dims in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            data = chance.randbytes(math.prod(dims))
            if len(dims) == 1:
                data = bytes(i % 10 for i in range(count))
            with open(f"{folder}/{name}-{kind}-ubyte", "wb") as file:
                file.write(bytes([0, 0, 8, len(dims)]))
                file.write(b"".join(d.to_bytes(4, "big") for d in dims) + data)


def main():
    makers = {"latents": make_latents, "pictures": make_pictures}
    if len(sys.argv) != 3 or sys.argv[1] not in makers:
        print(__doc__, file=sys.stderr)
        return 2
    makers[sys.argv[1]](sys.argv[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
