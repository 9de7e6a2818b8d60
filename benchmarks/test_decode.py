"""Files to arrays; the files lie in the page cache after the first round."""

from itertools import cycle

import pytest

from benchmarks.conftest import Timer
from harness.config import Config
from harness.fc2.decode import Decoded, decode_triplet
from harness.fc2.layout import list_triplets
from harness.fc2.provider import open_provider


@pytest.mark.benchmark(group="decode")
def test_decode_of_one_triplet(timer: Timer, setting: Config) -> None:
    """Two images and a flow file, uncropped, with the checks of their headers and sizes."""
    samples = cycle(list_triplets(setting.data.split_dir("train"))[:16])
    for _ in range(16):
        decode_triplet(next(samples))

    def decode() -> Decoded:
        return decode_triplet(next(samples))

    decoded, seconds = timer(decode, rounds=48)
    assert decoded.frames.shape[:2] == decoded.flow.shape[:2] == decoded.valid.shape
    if seconds is not None:
        height, width = decoded.valid.shape
        timer.report.lines["decode"] = f"{seconds:.4f} s for one triplet of {height} x {width} px"


@pytest.mark.benchmark(group="decode")
def test_one_training_batch(timer: Timer, setting: Config) -> None:
    """Decode, crop, clip and digest a training batch in one thread."""
    provider = open_provider(setting, "train", "train")
    batch, seconds = timer(lambda: provider.batch(1, 0), rounds=20)
    assert batch.size == setting.train.batch_size
    if seconds is not None:
        timer.report.lines["batch"] = f"{seconds:.4f} s for a training batch of {batch.size}"
