"""Files to arrays; the files lie in the page cache after the first round."""

from itertools import cycle

import pytest

from benchmarks.timer import Timer
from harness.config import Config
from harness.fc2.decode import decode_triplet
from harness.fc2.layout import list_triplets
from harness.fc2.provider import open_provider

_SAMPLES = 16


@pytest.mark.benchmark(group="decode")
def test_decode_of_one_triplet(timer: Timer, setting: Config) -> None:
    """Two images and a flow file, uncropped, with the checks of their headers and sizes."""
    samples = list_triplets(setting.data.split_dir("train"))[:_SAMPLES]
    for triplet in samples:
        decode_triplet(triplet)
    turns = cycle(samples)
    timing = timer(decode_triplet, rounds=3 * _SAMPLES, arguments=lambda: (next(turns),))
    decoded = timing.result
    assert decoded.frames.shape[:2] == decoded.flow.shape[:2] == decoded.valid.shape
    if timing.seconds is not None:
        height, width = decoded.valid.shape
        text = f"{timing.seconds:.4f} s for one triplet of {height} x {width} px"
        timer.report.lines["decode"] = text


@pytest.mark.benchmark(group="decode")
def test_one_training_batch(timer: Timer, setting: Config) -> None:
    """Decode, crop, clip and digest a training batch in one thread."""
    provider = open_provider(setting, "train", "train")
    timing = timer(lambda: provider.batch(1, 0), rounds=20)
    batch = timing.result
    assert batch.size == setting.train.batch_size
    if timing.seconds is not None:
        text = f"{timing.seconds:.4f} s for {batch.size} samples, cropped, in one thread"
        timer.report.lines["train batch"] = text
