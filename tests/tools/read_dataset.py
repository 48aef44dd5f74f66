"""Reads a column of a dataset without Dye: the program zstd and one line of NumPy.

    read_dataset.py FOLDER SPLIT COLUMN > items

writes the items as raw little-endian bytes. The line is the one that index.json gives for the
column. It is evaluated: use this on folders you packed yourself.
"""
import json
import pathlib
import subprocess
import sys

import numpy as np


def read_column(folder, split, name):
    folder = pathlib.Path(folder)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    column = next(c for c in index["columns"] if c["name"] == name)
    parts = []
    for shard in index["shards"]:
        if (shard["split"], shard["column"]) == (split, name):
            raw = subprocess.run(["zstd", "-d", "-c", folder / shard["file"]],
                                 check=True, stdout=subprocess.PIPE).stdout
            items = eval(column["numpy"], {"np": np, "raw": raw})
            assert items.shape == (shard["items"], *column["shape"]), items.shape
            parts.append(items)
    return np.concatenate(parts)


if __name__ == "__main__":
    sys.stdout.buffer.write(read_column(*sys.argv[1:4]).tobytes())
