"""Shared evaluation against EdgeFlowNAS's strategy, both in one run.

Ratios are medians of paired rounds by the wall clock, as required; those by CPU time are printed
beside, because other work on the machine moves them less.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.both_ways import BothWays, Seconds, large_convolution_rate, ratio
from benchmarks.timer import Timer
from harness.config import Config, parse_config, with_fc2_root, with_overrides
from harness.environment import Environment
from harness.fc2.synthetic import write_dataset

_SPACE = tuple(itertools.product(range(3), repeat=9))
_RECAL, _EVAL, _BATCH = 8, 4, 8
_TREE: dict[str, dict[str, Any]] = {
    "runtime": {"seed": 42},
    "model": {"width": 8},
    "data": {"input_height": 64, "input_width": 96},
    "train": {"batch_size": _BATCH, "micro_batch_size": _BATCH},
    "eval": {"eval_pool_size": 12, "bn_recal_batches": _RECAL, "eval_batches_per_arch": _EVAL},
}
_LARGE = {
    "model.width": 32, "data.input_height": 180, "data.input_width": 240,
    "train.batch_size": 2, "train.micro_batch_size": 2, "eval.bn_recal_batches": 1,
    "eval.eval_batches_per_arch": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def config(
    environment: Environment,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Config:
    """Return the setting on synthetic frames of 512 x 384 px."""
    root = tmp_path_factory.mktemp("shared") / "frames"
    write_dataset(root, train=_RECAL * _BATCH, val=_EVAL * _BATCH, height=384, width=512)
    return with_fc2_root(parse_config(_TREE), root)


@pytest.fixture(scope="module")
def small(config: Config) -> BothWays:
    """Return both ways at C = 8, 64 x 96, batch 8, R = 8, K = 4."""
    return BothWays(config, "last")


@pytest.fixture(scope="module")
def large(config: Config) -> BothWays:
    """Return both ways at C = 32, 180 x 240, batch 2, R = K = 1."""
    keys = [f"{key}={value}" for key, value in _LARGE.items()]
    return BothWays(with_overrides(config, keys), "last")


def _compared(
    both: BothWays, pool: Sequence[tuple[int, ...]], rounds: int
) -> tuple[list[Seconds], list[Seconds]]:
    """Time a pool between dense evaluations of 12 archs; both score alike what both can score."""
    ours, theirs = [], [both.theirs(both.twelve)[0]]
    for _ in range(rounds):
        seconds, record = both.ours(pool)
        ours.append(seconds)
        theirs.append(both.theirs(both.twelve)[0])
    scores = dict(zip(record.archs, record.per_arch_epe, strict=True))
    np.testing.assert_allclose(
        [scores["".join(map(str, arch))] for arch in both.twelve], both.dense_scores(), rtol=1e-4
    )
    return ours, theirs


def _say(
    timer: Timer, subject: str, both: BothWays, pool: Sequence[tuple[int, ...]], rounds: int,
    wanted: dict[str, float],
) -> None:  # fmt: skip
    """Print a pool's ratios beside those wanted, and require these."""
    rates = [large_convolution_rate()]
    run = timer.benchmark.pedantic(lambda: _compared(both, pool, rounds), rounds=1)
    found = {part: ratio(*run, part) for part in ("wall", "cpu", "compute", "compute_cpu")}
    rates.append(large_convolution_rate())
    shared, rate = both.macs(pool).shared, max(rates)
    macs = shared / both.macs(both.twelve).dense
    reached = 2e-9 * shared / min(seconds.compute for seconds in run[0])
    timer.note(**found, wanted=wanted, macs=macs, gflops=reached, convolution_gflops=rate)
    limits = {part: f" (wanted {limit:.3f})" for part, limit in wanted.items()}
    text = timer.report.lines[subject] = (
        f"{found['wall']:.3f}{limits.get('wall', '')} of 12 dense archs that decode for each, "
        f"compute alone {found['compute']:.3f}{limits['compute']}; by CPU time {found['cpu']:.3f} "
        f"and {found['compute_cpu']:.3f}; MACs {macs:.3f}; {reached:.0f} GFLOP/s, "
        f"{reached / rate:.0%} of a large convolution's {rate:.0f}"
    )
    assert all(found[part] <= limit for part, limit in wanted.items()), text


@pytest.mark.benchmark(group="shared evaluation")
def test_pool_of_12(timer: Timer, small: BothWays) -> None:
    """12 archs, R = 8, K = 4, batch 8: at least 3.5 times faster, compute 2.2 as the MACs say."""
    wanted = {"wall": 1 / 3.5, "compute": 1 / 2.2}
    _say(timer, "12 archs shared", small, small.twelve, 2, wanted)


@pytest.mark.benchmark(group="shared evaluation")
@pytest.mark.slow
def test_whole_space(timer: Timer, small: BothWays) -> None:
    """19,683 archs against 12: less than 2.2 times in total, 4.4 times on compute alone."""
    _say(timer, "19,683 archs shared", small, _SPACE, 3, {"wall": 2.2, "compute": 4.4})


@pytest.mark.benchmark(group="shared evaluation")
@pytest.mark.slow
def test_whole_space_large(timer: Timer, large: BothWays) -> None:
    """C = 32, 180 x 240, batch 2, one batch each: less than 4.6 times on compute."""
    _say(timer, "19,683 archs, C = 32", large, _SPACE, 1, {"compute": 4.6})
