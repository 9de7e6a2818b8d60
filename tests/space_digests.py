"""Prints a digest of all 19,683 scores and one of all statistics for each split asked for.

``python tests/space_digests.py THREADS SPLIT...``: samples scored at once, 0 for the default;
a negative split also keeps recalibration batches apart.
"""

import itertools
import json
import sys

import numpy as np

from harness.config import parse_config
from harness.digest import digest_arrays
from harness.environment import apply_environment
from harness.fc2.batch import Batch

CROP, SIZES = (64, 96), ((8, 1), (8, 8, 1))
SPACE = tuple(itertools.product(range(3), repeat=9))


def batch(number: int, size: int) -> Batch:
    draw = np.random.default_rng(number)
    return Batch(
        tuple(f"{number}-{i}" for i in range(size)), (None,) * size,
        draw.integers(0, 256, (size, *CROP, 6), np.uint8),
        draw.normal(0, 3, (size, *CROP, 2)).astype(np.float32),
        draw.random((size, *CROP)) < 0.9, None, str(number),
    )  # fmt: skip


def main(threads: int, splits: list[int]) -> None:
    apply_environment(parse_config({"runtime": {"threads": threads}}))
    from harness.evaluation import scoring
    from harness.evaluation.evaluator import Evaluator, Protocol
    from harness.training.model import Supernet

    scored, recal = (tuple(batch(10 * k + n, n) for n in sizes) for k, sizes in enumerate(SIZES))
    protocol, evaluator = Protocol(SPACE, scored, recal, 2), Evaluator("full", 8)
    weights, default, pixels = Supernet("full", 8, 7).weight_tensors(), scoring.score_split, 1 << 18
    for split in splits:
        size = abs(split)
        scoring.score_split = (lambda *_, size=size: size) if size else default
        scoring.PIXELS = 1 if split < 0 else pixels
        record, samples = evaluator.evaluate(weights, protocol)
        scores = digest_arrays({arch: np.array(values) for arch, values in samples.items()})
        print(json.dumps([scores, record.stats_digest, len(samples)]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(word) for word in sys.argv[2:]])
