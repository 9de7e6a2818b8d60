"""The same evaluation shared and by EdgeFlowNAS's strategy, timed in one run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.plain_reader import Plain, plain_reader
from harness.config import Config
from harness.fc2.provider import open_provider

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.fc2.batch import Batch

__all__ = ["BothWays", "Seconds", "large_convolution_rate", "ratio"]

Pool = Sequence[tuple[int, ...]]
_IN_A_ROW = 5


@dataclass(frozen=True)
class Seconds:
    """Seconds by the wall clock and of all the process's threads.

    Attributes
    ----------
    wall, cpu : float
        Of everything, s.
    decode_wall, decode_cpu : float
        The part that read and decoded files, s.
    """

    wall: float
    cpu: float
    decode_wall: float = 0.0
    decode_cpu: float = 0.0

    @property
    def compute(self) -> float:
        """Wall time without decoding, s."""
        return self.wall - self.decode_wall

    @property
    def compute_cpu(self) -> float:
        """CPU time without decoding, s."""
        return self.cpu - self.decode_cpu


def ratio(ours: Sequence[Seconds], theirs: Sequence[Seconds], part: str) -> float:
    """Return the median of ours over theirs, each over the mean of the two around it.

    A machine's slow spells last longer than a round: neighbours compare, distant rounds do not.
    """
    beside = [
        (getattr(before, part) + getattr(after, part)) / 2 for before, after in pairwise(theirs)
    ]
    return median(getattr(o, part) / near for o, near in zip(ours, beside, strict=True))


def _clock(function: Callable[[], Any]) -> tuple[float, float, Any]:
    wall, cpu = perf_counter(), process_time()
    result = function()
    return perf_counter() - wall, process_time() - cpu, result


def large_convolution_rate() -> float:
    """Return what a large convolution reaches here, GFLOP/s: the best of 8 times 5 of 3.6 GFLOP.

    3 x 3 on 64 channels in and out, 8 samples of 64 x 96, in a graph of one operation.
    """
    import tensorflow as tf

    x, kernel = tf.ones([8, 64, 96, 64]), tf.ones([3, 3, 64, 64])
    convolve = tf.function(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"), autograph=False)

    def several() -> Any:
        # A device works on after a call has returned: five in a row, and the last one's end.
        for _ in range(_IN_A_ROW):
            y = convolve(x)
        return y[0, 0, 0, 0].numpy()

    several()
    seconds = min(_clock(several)[0] for _ in range(8)) / _IN_A_ROW
    return float(2e-9 * 8 * 64 * 96 * 9 * 64 * 64 / seconds)


class BothWays:
    """Both ways to evaluate, on the same files and weights.

    Parameters
    ----------
    config : Config
        Batches of ``train.batch_size``, R and K as in ``eval``.
    scored : {"accumulated", "last"}, default "accumulated"
        What the dense evaluation scores, and so what it computes: all heads, as EdgeFlowNAS does
        from 5f197cd on, or what the last residual needs, as it does before.
    """

    def __init__(
        self, config: Config, scored: Literal["accumulated", "last"] = "accumulated"
    ) -> None:
        from benchmarks.reference import Reference
        from harness.evaluation.evaluator import Evaluator
        from harness.evaluation.ranking import build_pool
        from harness.training.model import Supernet

        model = config.model
        self.config, self.scored = config, scored
        self.twelve = build_pool(seed=42, size=12)
        self.recal_count = config.eval.bn_recal_batches
        self.eval_count = int(config.eval.eval_batches_per_arch)
        self.weights = Supernet(model.skeleton, model.width, 42).weight_tensors()
        self.reference: Reference = Reference(self.weights, scored)
        self.evaluator: Evaluator = Evaluator(model.skeleton, model.width)
        self.theirs(self.twelve[:1])  # compile both
        self.ours(self.twelve)

    def read(self, split: Any, count: int) -> "tuple[Batch, ...]":
        """Decode batches from their files."""
        provider = open_provider(self.config, split, "eval")
        return tuple(provider.batch(1, index) for index in range(count))

    def theirs(self, pool: Pool) -> tuple[Seconds, list[float]]:
        """Evaluate densely, one arch after another; each reads its files, as EdgeFlowNAS does."""
        spent: list[tuple[float, float]] = []

        def clocked(read: Callable[[], Any]) -> Callable[[], Any]:
            def reader() -> Any:
                *seconds, batches = _clock(read)
                spent.append((seconds[0], seconds[1]))
                return batches

            return reader

        readers = map(clocked, self._plain())
        wall, cpu, scores = _clock(lambda: self.reference.evaluate(pool, *readers))
        return Seconds(wall, cpu, *map(sum, zip(*spent, strict=True))), scores

    def dense_scores(self) -> list[float]:
        """Return the EPE of the accumulated flow of the 12 archs, px, computed densely."""
        from benchmarks.reference import Reference

        return Reference(self.weights, "accumulated").evaluate(self.twelve, *self._plain())

    def _plain(self) -> list[Callable[[], list[Plain]]]:
        """Return what decodes recalibration and validation batches; labels as ours, not clipped."""
        config, size = self.config, self.config.eval_batch_size
        splits: list[tuple[Literal["train", "val"], int]] = [
            ("train", self.recal_count), ("val", self.eval_count),
        ]  # fmt: skip
        return [
            plain_reader(config.data.split_dir(split), config.eval_crop, size, count, clip=math.inf)
            for split, count in splits
        ]

    def ours(self, pool: Pool) -> tuple[Seconds, Any]:
        """Evaluate together; files are read once."""
        from harness.evaluation.evaluator import Protocol

        def read() -> Any:
            return self.read("val", self.eval_count), self.read("train", self.recal_count)

        wall, cpu, batches = _clock(read)
        protocol = Protocol(tuple(pool), *batches, self.eval_count)
        more, more_cpu, found = _clock(lambda: self.evaluator.evaluate(self.weights, protocol))
        return Seconds(wall + more, cpu + more_cpu, wall, cpu), found[0]

    def macs(self, pool: Pool) -> Any:
        """Return the MACs of a pool, dense ones as the dense evaluation makes them."""
        from benchmarks.dense import stages_before
        from harness.supernet.macs import kernel_macs, pool_macs
        from harness.supernet.space import SKELETONS

        config, size = self.config, self.config.train.batch_size
        name, width, crop = config.model.skeleton, config.model.width, config.eval_crop
        counts = {"recal_samples": self.recal_count * size, "eval_samples": self.eval_count * size}
        found = pool_macs(name, width, crop, pool, **counts)
        if self.scored == "accumulated":
            return found
        stages = stages_before(SKELETONS[name], SKELETONS[name].outputs[-1])
        each = kernel_macs(name, width, crop).items()
        one = sum(macs for kernel, macs in each if kernel.split("/")[0] in stages)
        return replace(found, dense=len(pool) * sum(counts.values()) * one)
