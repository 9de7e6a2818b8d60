"""Samples in which every value tells its place, and providers of them."""

import struct

import cv2
import numpy as np

from harness.config import parse_config
from harness.fc2.layout import list_triplets, member_name
from harness.fc2.provider import Provider, open_provider

HEIGHT, WIDTH, COUNT = 24, 37, 7
CROP = (10, 16)
UNKNOWN = (11, 18)
"""A pixel of sample 2 without a known flow, inside the centre crop."""


def write_sample(folder, number, height=HEIGHT, width=WIDTH):
    """Write a sample in which every value tells its place: row, column and sample."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.indices((height, width))
    for frame in (0, 1):
        image = np.stack([y, x, np.full_like(x, 10 * number + frame)], -1).astype(np.uint8)
        assert cv2.imwrite(str(folder / member_name(number, f"img_{frame}.png")), image)
    flow = np.stack([x, y], -1).astype("<f4")
    if number == 2:
        flow[UNKNOWN] = 1e10
    content = b"PIEH" + struct.pack("<ii", width, height) + flow.tobytes()
    (folder / member_name(number, "flow_01.flo")).write_bytes(content)


def provider(root, role="train", batch_size=3, **given):
    clip = given.pop("flow_clip", None)
    samples = list_triplets(root / "train")
    return Provider(samples, role, CROP, batch_size, clip, seed=7, **given)


def opened(root, split, role, **train):
    data = {"base_path": str(root), "input_height": 10, "input_width": 16, "flow_clip": 12.5}
    train = {"epoch_mode": "full_pass", "batch_size": 3} | train
    evaluation = {"batch_size": 2, "crop": [8, 22]}
    return open_provider(
        parse_config({"data": data, "train": train, "eval": evaluation}), split, role
    )


def digests(batches):
    return [batch.digest for batch in batches]


def served(batches):
    return [sample for batch in batches for sample in batch.ids]


def same(one, two):
    arrays = [(one.frames, two.frames), (one.flow, two.flow), (one.valid, two.valid)]
    names = (one.ids, one.windows, one.digest) == (two.ids, two.windows, two.digest)
    return names and all(np.array_equal(a, b) for a, b in arrays)
