"""Every ratio that a device is held to, one row each, in one run: ``-m benchmarks.device_table``.

The same rows on a GPU at the size that is trained at, and on a CPU at a small one. Each is printed
when it is measured, with the device's name before them.
"""

import argparse
import itertools
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.both_ways import BothWays, Seconds, large_convolution_rate
from benchmarks.profile import profiled
from harness.config import Config, parse_config, with_fc2_root, with_overrides
from harness.environment import apply_environment
from harness.fc2.provider import open_provider
from harness.fc2.synthetic import write_dataset

__all__ = ["LARGE", "ROWS", "SMALL", "Row", "Size", "measured"]

SPACE = tuple(itertools.product(range(3), repeat=9))


@dataclass(frozen=True)
class Size:
    """At what the rows are measured.

    Attributes
    ----------
    width : int
        Base width C.
    crop, frame : (int, int)
        Height and width, px, of a crop and of a file's frame.
    batch, few : int
        Samples of an evaluation batch, and of one where an evaluation is to be small.
    recal, scored : int
        R and K of the pool of 12.
    train : int
        Samples of a training step.
    steps, rounds : int
        Steps of a round of training, and rounds of which the median counts.
    """

    width: int
    crop: tuple[int, int]
    frame: tuple[int, int]
    batch: int
    few: int
    recal: int
    scored: int
    train: int
    steps: int
    rounds: int


LARGE = Size(32, (180, 240), (384, 512), 8, 2, 8, 4, 32, 1, 2)
SMALL = Size(2, (16, 32), (48, 64), 4, 2, 2, 2, 4, 2, 1)


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes
    ----------
    name : str
        What was measured.
    value : float
        What was found.
    least, most : float
        Between which it is to lie at the size that is trained at.
    text : str
        What it is made of.
    """

    name: str
    value: float
    least: float
    most: float
    text: str

    @property
    def holds(self) -> bool:
        """Whether the figure lies where it is to."""
        return self.least <= self.value <= self.most

    def line(self) -> str:
        """Return the row as it is printed."""
        bounds = {"at least": self.least, "at most": self.most}
        said = [f"{word} {bound:g}" for word, bound in bounds.items() if 0 < bound < float("inf")]
        limit = " and ".join(said) or "for comparison"
        return f"{self.name}: {self.value:.3f} ({limit}); {self.text}"


class Bench:
    """Files, weights and compiled functions of one size, each made when it is first asked for."""

    def __init__(self, size: Size, folder: Path) -> None:
        self.size, self._folder = size, folder

    @cached_property
    def config(self) -> Config:
        """The setting, on synthetic frames."""
        size = self.size
        count = max(size.recal * size.batch, size.train)
        height, width = size.frame
        write_dataset(
            self._folder, train=count, val=size.scored * size.batch, height=height, width=width
        )
        tree: Mapping[str, Any] = {
            "runtime": {"seed": 42}, "model": {"width": size.width},
            "data": {"input_height": size.crop[0], "input_width": size.crop[1]},
            "train": {"batch_size": size.train, "micro_batch_size": size.train},
            "eval": {
                "eval_pool_size": 12, "bn_recal_batches": size.recal,
                "eval_batches_per_arch": size.scored,
            },
        }  # fmt: skip
        return with_fc2_root(parse_config(tree), self._folder)

    def ways(self, batch: int, recal: int, scored: int) -> BothWays:
        """Return both ways to evaluate."""
        keys = {
            "train.batch_size": batch, "train.micro_batch_size": batch,
            "eval.bn_recal_batches": recal, "eval.eval_batches_per_arch": scored,
        }  # fmt: skip
        return BothWays(with_overrides(self.config, [f"{k}={v}" for k, v in keys.items()]))


@dataclass(frozen=True)
class _Timed:
    ours: Sequence[Seconds]
    theirs: Sequence[Seconds]
    record: Any

    def ratio(self, part: str) -> float:
        """Return the median of ours over that of theirs."""
        ours, theirs = (median(getattr(s, part) for s in one) for one in (self.ours, self.theirs))
        return ours / theirs


def _timed(both: BothWays, pool: Sequence[tuple[int, ...]], rounds: int) -> _Timed:
    """Time a pool and 12 dense archs in turn, both compiled; scores agree."""
    both.ours(pool)
    ours, theirs, record, dense = [], [], None, list[float]()
    for _ in range(rounds):
        seconds, dense = both.theirs(both.twelve)
        theirs.append(seconds)
        seconds, record = both.ours(pool)
        ours.append(seconds)
    place = [record.archs.index("".join(map(str, arch))) for arch in both.twelve]
    np.testing.assert_allclose([record.per_arch_epe[p] for p in place], dense, rtol=1e-3)
    return _Timed(ours, theirs, record)


def space_seconds(bench: Bench) -> Iterator[Row]:
    """Time the whole space at the batch that is trained at, R = K = 1."""
    both = bench.ways(bench.size.batch, 1, 1)
    start = perf_counter()
    both.ours(SPACE)
    first = perf_counter() - start
    taken = []
    for _ in range(bench.size.rounds):
        seconds, record = both.ours(SPACE)
        taken.append((record.eval_seconds + record.bn_recal_seconds, record, seconds))
    value, record, seconds = sorted(taken, key=lambda each: each[0])[len(taken) // 2]
    flops = 2e-12 * both.macs(SPACE).shared
    yield Row(
        "space, s", value, 0, 16,
        f"scoring {record.eval_seconds:.2f} + recalibration {record.bn_recal_seconds:.2f}, "
        f"{seconds.compute:.2f} with what surrounds them, {first:.2f} the first time; "
        f"{flops:.1f} TFLOP, {flops / value:.2f} TFLOP/s",
    )  # fmt: skip


def space_ratio(bench: Bench) -> Iterator[Row]:
    """Hold the whole space against 12 dense archs on a small batch; say its rate."""
    both = bench.ways(bench.size.few, 1, 1)
    rates = [large_convolution_rate()]
    found = _timed(both, SPACE, bench.size.rounds)
    rates.append(large_convolution_rate())
    macs = both.macs(SPACE).shared / both.macs(both.twelve).dense
    seconds = median(s.compute for s in found.ours)
    rate = 2e-9 * both.macs(SPACE).shared / seconds
    yield Row(
        "space, compute of 12 dense archs", found.ratio("compute"), 0, 5.2,
        f"MACs {macs:.2f}; {seconds:.2f} s against {median(s.compute for s in found.theirs):.2f} s",
    )  # fmt: skip
    yield Row(
        "space, rate of a large convolution", rate / max(rates), 0.6, float("inf"),
        f"{rate:.0f} of {max(rates):.0f} GFLOP/s",
    )  # fmt: skip


def pool_of_12(bench: Bench) -> Iterator[Row]:
    """Hold 12 archs against 12 dense ones."""
    size = bench.size
    both = bench.ways(size.batch, size.recal, size.scored)
    # Once: a dense evaluation of so many samples, decoded for each arch, takes most of a minute.
    found = _timed(both, both.twelve, 1)
    macs = both.macs(both.twelve)
    ours, theirs = (median(s.compute for s in one) for one in (found.ours, found.theirs))
    yield Row(
        "12 archs, dense compute over ours", 1 / found.ratio("compute"), 2.2, float("inf"),
        f"MACs {macs.dense / macs.shared:.2f}; {theirs:.2f} s over {ours:.2f} s (scoring "
        f"{found.record.eval_seconds:.2f}, recalibration {found.record.bn_recal_seconds:.2f})",
    )  # fmt: skip
    walls = [median(s.wall for s in one) for one in (found.theirs, found.ours)]
    yield Row(
        "12 archs, dense in all over ours", 1 / found.ratio("wall"), 5, float("inf"),
        f"{walls[0]:.2f} s over {walls[1]:.2f} s, files decoded for each dense arch",
    )  # fmt: skip


def train_step(bench: Bench) -> Iterator[Row]:
    """Hold a training step of chosen branches against one of dense branches, on one batch."""
    config, size = bench.config, bench.size
    batch = open_provider(config, "train", "train").batch(1, 0)
    taken = {}
    for kind, step in _steps(config):
        step(0, batch)
        taken[kind] = []
        for number in range(size.rounds):
            start = perf_counter()
            for index in range(size.steps):
                step(number * size.steps + index, batch)
            taken[kind].append((perf_counter() - start) / size.steps)
    chosen, dense = median(taken["chosen"]), median(taken["dense"])
    yield Row(
        "train step, dense compute over chosen", dense / chosen, 1.55, float("inf"),
        f"{1e3 * dense:.1f} ms over {1e3 * chosen:.1f} ms, batch {size.train}",
    )  # fmt: skip


def train_busy(bench: Bench) -> Iterator[Row]:
    """Profile training steps: the share of the time that the device computes; nothing on a CPU."""
    batch = open_provider(bench.config, "train", "train").batch(1, 0)
    with closing(_steps(bench.config)) as steps:
        _, step = next(steps)
        step(0, batch)
        found = profiled(lambda: [step(number, batch) for number in range(1, 5)], skip=0.25)
    if found is not None:
        yield Row(
            "train step, share the device is busy", found.busy, 0.85, float("inf"),
            f"{found.kernels} kernels and copies in {found.seconds:.2f} s; longest gaps "
            f"{', '.join(f'{1e3 * gap:.1f} ms before {name}' for gap, name in found.gaps)}",
        )  # fmt: skip


def _steps(config: Config) -> Generator[tuple[str, Callable[[int, Any], object]]]:
    """Yield a step of each kind, on a supernet of its own that is given up before the next."""
    import harness.training.step_functions as functions
    from benchmarks.dense import forward_dense
    from harness.training.fairness import fair_cycle
    from harness.training.model import Supernet
    from harness.training.step import TrainStep
    from harness.training.train_parts import TrainParts

    model, seed, own = config.model, config.runtime.seed, functions.forward
    for kind, forward in (("chosen", own), ("dense", forward_dense)):
        functions.forward = forward  # type: ignore[assignment]
        try:
            net = Supernet(model.skeleton, model.width, seed)
            step = TrainStep(net, config, TrainParts())

            def take(number: int, batch: Any, step: Any = step) -> object:
                archs = fair_cycle(seed=seed, epoch=1, step=number)
                return step(archs, batch, config.train.lr).losses[0]

            yield kind, take
        finally:
            functions.forward = own


ROWS: Mapping[str, Callable[[Bench], Iterator[Row]]] = {
    "space": space_seconds, "ratio": space_ratio, "pool": pool_of_12, "train": train_step,
    "busy": train_busy,
}  # fmt: skip


def measured(size: Size, folder: Path, names: Sequence[str] = tuple(ROWS)) -> Iterator[Row]:
    """Yield the rows of the named groups, each when it is measured."""
    bench = Bench(size, folder)
    for name in names:
        yield from ROWS[name](bench)


def main() -> None:
    """Print the rows that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="default: all")
    parser.add_argument("--small", action="store_true", help="at the CPU's size")
    asked = parser.parse_args()
    print(apply_environment(parse_config({})).line(), flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        rows = asked.rows or list(ROWS)
        for row in measured(SMALL if asked.small else LARGE, Path(folder, "frames"), rows):
            print(row.line(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
