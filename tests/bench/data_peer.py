"""The peers of tests/bench/data.sh: the same samples in MosaicML Streaming (MDS) and in WebDataset.

    data_peer.py plain SET OUT      decodes a set to OUT/{train,test}-{images,labels}.npy
    data_peer.py make FORMAT IN OUT writes what `plain` made; prints seconds and bytes as JSON
    data_peer.py read FORMAT DIR    reads it shuffled; prints samples/s as JSON
        [--batch N] [--workers N] [--seconds S] [--algorithm A] [--decode npy|bare]

SET is a folder of IDX files (.gz or not) or a file of CIFAR-10's records (.zst or not). FORMAT is
mds, mds-zstd, wds or wds-zstd. What is read is what a training step takes: batches of float32 images
in [-1, 1] with their labels.
"""
import argparse
import gzip
import importlib
import json
import os
import pathlib
import shutil
import subprocess
import time

import numpy as np

SHARD_SAMPLES = 5000  # of WebDataset: several shards for each of two workers
BUFFER = 1000         # its shuffle buffer, the usual size


# ---- the samples --------------------------------------------------------------------------------

def read_idx(folder, part):
    path = next(p for p in sorted(folder.iterdir()) if p.name.startswith(part))
    raw = (gzip.open if path.suffix == ".gz" else open)(path, "rb").read()
    dims = [int.from_bytes(raw[4 + 4 * i:8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims)


def read_cifar(path):
    raw = path.read_bytes()
    if path.suffix == ".zst":
        raw = subprocess.run(["zstd", "-dc", path], check=True, stdout=subprocess.PIPE).stdout
    records = np.frombuffer(raw, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def plain(source, out):
    source, out = pathlib.Path(source), pathlib.Path(out)
    out.mkdir(parents=True)
    if source.is_dir():
        parts = {"train": [read_idx(source, f"train-{what}") for what in ("images", "labels")],
                 "test": [read_idx(source, f"t10k-{what}") for what in ("images", "labels")]}
        parts = {split: (images[:, None], labels) for split, (images, labels) in parts.items()}
    else:
        parts = {"train": read_cifar(source)}
    for split, (images, labels) in parts.items():
        np.save(out / f"{split}-images.npy", images)
        np.save(out / f"{split}-labels.npy", labels)


# ---- writing ------------------------------------------------------------------------------------

def write_mds(out, images, labels, compression):
    from streaming import MDSWriter
    shape = ",".join(map(str, images.shape[1:]))
    columns = {"image": f"ndarray:uint8:{shape}", "label": "uint8"}
    with MDSWriter(out=str(out), columns=columns, compression=compression) as writer:
        for image, label in zip(images, labels):
            writer.write({"image": image, "label": label})


def write_wds(out, images, labels, compression):
    import webdataset
    out.mkdir(parents=True)
    with webdataset.ShardWriter(str(out / "%05d.tar"), maxcount=SHARD_SAMPLES, verbose=0) as writer:
        for i, (image, label) in enumerate(zip(images, labels)):
            writer.write({"__key__": f"{i:08d}", "npy": image, "cls": int(label)})
    if compression:
        shards = sorted(out.glob("*.tar"))
        subprocess.run(["zstd", "-q", "--rm", "-T1", *shards], check=True)


def make(form, source, out):
    name, _, compression = form.partition("-")
    source, out = pathlib.Path(source), pathlib.Path(out)
    splits = [p.name.removesuffix("-images.npy") for p in sorted(source.glob("*-images.npy"))]
    arrays = {split: [np.load(source / f"{split}-{what}.npy") for what in ("images", "labels")]
              for split in splits}
    write = {"mds": write_mds, "wds": write_wds}[name]
    write(out / "warm", *[array[:1] for array in next(iter(arrays.values()))], None)  # imports
    shutil.rmtree(out / "warm")
    began = time.monotonic()
    for split, (images, labels) in arrays.items():
        write(out / split, images, labels, compression or None)
    seconds = time.monotonic() - began
    files = [p for p in out.rglob("*") if p.is_file()]
    return {"seconds": seconds, "bytes": sum(p.stat().st_size for p in files), "files": len(files)}


# ---- reading ------------------------------------------------------------------------------------

def batch_of(images, labels):
    import torch
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.array(labels, np.int64))


def collate_mds(samples):
    return batch_of([s["image"] for s in samples], [s["label"] for s in samples])


def collate_wds(samples):
    return batch_of(*zip(*samples))


def decode_bare(sample):
    """What decode() does for these two, without looking at names and headers."""
    data = sample["npy"]
    start = 10 + int.from_bytes(data[8:10], "little")
    header = data[10:start]
    shape = eval(header, {})["shape"]
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape), int(sample["cls"])


def open_mds(folder, compression, args):
    import streaming
    import torch
    streaming.base.util.clean_stale_shared_memory()
    if compression:  # the first epoch finds the shards packed
        for raw in folder.glob("*.mds"):
            raw.unlink()
    dataset = streaming.StreamingDataset(local=str(folder), shuffle=True, batch_size=args.batch,
                                         shuffle_algo=args.algorithm, shuffle_seed=1)
    return len(dataset), torch.utils.data.DataLoader(
        dataset, batch_size=args.batch, num_workers=args.workers, collate_fn=collate_mds,
        persistent_workers=args.workers > 0)


def open_wds(folder, compression, args):
    import webdataset
    shards = [("pipe:zstd -dc " if compression else "") + str(p)
              for p in sorted(folder.glob("*.tar*"))]
    samples = len(np.load(args.plain, mmap_mode="r"))
    dataset = webdataset.WebDataset(shards, shardshuffle=len(shards), seed=1).shuffle(BUFFER)
    dataset = (dataset.map(decode_bare) if args.decode == "bare"
               else dataset.decode().to_tuple("npy", "cls"))
    dataset = dataset.batched(args.batch, collation_fn=collate_wds)
    return samples, webdataset.WebLoader(dataset, batch_size=None, num_workers=args.workers,
                                         persistent_workers=args.workers > 0)


def read(form, folder, args):
    """Samples/s of the first epoch, from the opening on, and of what follows."""
    import torch
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    name, _, compression = form.partition("-")
    opener, module = {"mds": (open_mds, "streaming"), "wds": (open_wds, "webdataset")}[name]
    importlib.import_module(module)  # seconds, which are no part of an epoch: before the clock
    began = time.monotonic()
    samples, loader = opener(pathlib.Path(folder) / "train", compression, args)
    seen, epoch_end, steady, now = 0, None, 0, began
    while epoch_end is None or now < epoch_end + args.seconds:
        for images, _ in loader:
            images.to(torch.float32).div_(127.5).sub_(1)
            now = time.monotonic()
            seen += len(images)
            if epoch_end is not None:
                steady += len(images)
                if now >= epoch_end + args.seconds:
                    break
        if epoch_end is None:
            assert seen == samples, f"{form}: {seen} samples in an epoch instead of {samples}"
            epoch_end = now
    return {"first_samples_per_s": samples / (epoch_end - began),
            "samples_per_s": steady / (now - epoch_end) if steady else 0}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("plain", "make", "read"))
    parser.add_argument("words", nargs="+")
    parser.add_argument("--plain", help="the images of the train split, for their number")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--algorithm", default="py1e")
    parser.add_argument("--decode", choices=("npy", "bare"), default="npy")
    args = parser.parse_args()
    if args.command == "plain":
        plain(*args.words)
    elif args.command == "make":
        shutil.rmtree(args.words[2], ignore_errors=True)
        print(json.dumps(make(*args.words)), flush=True)
    else:
        print(json.dumps(read(*args.words, args)), flush=True)
        os._exit(0)  # workers in the middle of an epoch are slow to end


if __name__ == "__main__":
    main()
