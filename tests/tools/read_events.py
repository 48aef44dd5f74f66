#!/usr/bin/env python3
"""Scalars of a folder of TensorBoard event files: "TAG STEP VALUE" a line, sorted.

  read_events.py FOLDER

Reads the frames with nothing but the standard library, checks every CRC, and drops what a later file
starts over. Where the real TensorBoard can be imported, its EventAccumulator must find the same.
"""
import os
import struct
import sys

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def masked(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frames(path):
    data = open(path, "rb").read()
    while data:
        if len(data) < 12:
            return  # torn: the run was killed
        length, check = struct.unpack("<QI", data[:12])
        if masked(data[:8]) != check:
            sys.exit(f"{path}: a length is damaged")
        if len(data) < length + 16:
            return
        body = data[12:12 + length]
        if masked(body) != struct.unpack("<I", data[12 + length:16 + length])[0]:
            sys.exit(f"{path}: a record is damaged")
        yield body
        data = data[16 + length:]


def fields(data):
    """(number, value) of a message; numbers of 4 and 8 bytes as they stand."""
    def varint(at):
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return value, at
    at = 0
    while at < len(data):
        key, at = varint(at)
        if key & 7 == 0:
            value, at = varint(at)
        else:
            size = {1: 8, 5: 4}.get(key & 7)
            if size is None:
                size, at = varint(at)
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def read(folder):
    points, first = {}, True
    for name in sorted(os.listdir(folder)):
        number = 0
        for body in frames(os.path.join(folder, name)):
            event = dict(fields(body))
            step = event.get(2, 0)
            if number == 0 and event.get(3) != b"brain.Event:2":
                sys.exit(f"{name}: does not begin with its version")
            if number == 1 and 7 not in event:
                sys.exit(f"{name}: does not say where it starts")
            number += 1
            if 7 in event:
                points = {key: value for key, value in points.items() if key[1] < step}
            if 5 not in event:
                continue
            value = dict(fields(dict(fields(event[5]))[1]))
            if 2 in value:
                points[value[1].decode(), step] = struct.unpack("<f", value[2])[0]
        first = False
    if first:
        sys.exit(f"{folder}: no event files")
    return points


def compare_parameters(folder):
    """That the page of hyper-parameters can read what is there."""
    import glob
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import plugin_data_pb2
    found = {}
    for path in sorted(glob.glob(f"{folder}/*")):
        for event in EventFileLoader(path).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
                    found[value.tag] = data
    start = found["_hparams_/session_start_info"].session_start_info.hparams
    if start["process.name"].string_value != "ddpm" or start["train.batch"].number_value < 1:
        sys.exit(f"other hyper-parameters: {start}")
    if found["_hparams_/session_end_info"].session_end_info.status != 1:
        sys.exit("not told that the run has ended well")


def main():
    points = read(sys.argv[1])
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        print("TensorBoard is not installed: read by the standard library alone", file=sys.stderr)
    else:
        real = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0, "tensors": 0})
        real.Reload()
        theirs = [(tag, e.step, e.value) for tag in real.Tags()["scalars"] for e in real.Scalars(tag)]
        if sorted(theirs) != sorted((tag, step, value) for (tag, step), value in points.items()):
            sys.exit("TensorBoard finds other points")
        compare_parameters(sys.argv[1])
        print(f"TensorBoard finds the same {len(theirs)} points, {len(real.Tags()['images'])} tags of pictures,"
              f" {len(real.Tags()['tensors'])} of texts", file=sys.stderr)
    for (tag, step), value in sorted(points.items()):
        print(f"{tag} {step} {value:.7g}")


if __name__ == "__main__":
    main()
