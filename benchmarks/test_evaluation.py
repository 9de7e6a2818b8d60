"""Eval seconds against K and BN-recal seconds against R, for the whole pool."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.timer import Timer
from harness.config import with_overrides
from harness.fc2.batch import Batch

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.evaluation.evaluator import Protocol
    from harness.systems.session import Session

_COUNTS = (1, 2, 4, 6, 8)
_ROUNDS = 7


@pytest.fixture(scope="module")
def protocol(session: "Session") -> "Protocol":
    """Return the pool and as many batches as the largest count takes."""
    from harness.evaluation.batches import FixedBatches

    most = max(_COUNTS)
    keys = (f"eval.eval_batches_per_arch={most}", f"eval.bn_recal_batches={most}")
    return FixedBatches(with_overrides(session.config, keys)).protocol(1)


@pytest.mark.benchmark(group="eval seconds against K, batches per arch")
@pytest.mark.parametrize("count", _COUNTS, ids="K={}".format)
def test_eval(timer: Timer, session: "Session", protocol: "Protocol", count: int) -> None:
    """Prediction and EPE of K batches for each arch, its statistics given."""
    batches = _first(protocol.eval_batches, count)
    evaluator, weights = session.evaluator, session.model.weight_tensors()
    parts = evaluator.parts
    recal = protocol.recal_batches[:1]
    pool = [(arch, evaluator.recalibrate(weights, arch, recal)) for arch in protocol.pool]

    def score() -> list[float]:
        scores = []
        for arch, statistics in pool:
            samples: list[float] = []
            for batch in batches:
                flow = evaluator.predict(weights, arch, statistics, batch)
                samples += parts.epe(flow, batch.flow, batch.valid).tolist()
            scores.append(parts.mean(samples))
        return scores

    timing = timer(score, rounds=_ROUNDS)
    assert np.isfinite(timing.result).all()
    _say(timer, "eval", "K", count, timing.seconds)


@pytest.mark.benchmark(group="BN-recal seconds against R, recalibration batches")
@pytest.mark.parametrize("count", _COUNTS, ids="R={}".format)
def test_bn_recal(timer: Timer, session: "Session", protocol: "Protocol", count: int) -> None:
    """Population statistics of R batches for each arch."""
    batches = _first(protocol.recal_batches, count)
    evaluator, weights = session.evaluator, session.model.weight_tensors()

    def recalibrate() -> list[Any]:
        return [evaluator.recalibrate(weights, arch, batches) for arch in protocol.pool]

    timing = timer(recalibrate, rounds=_ROUNDS)
    assert all((variance >= 0).all() for units in timing.result for _, variance in units.values())
    _say(timer, "BN-recal", "R", count, timing.seconds)


def _first(batches: Sequence[Batch], count: int) -> Sequence[Batch]:
    whole = [batch for batch in batches if batch.size == batches[0].size]
    if len(whole) < count:
        pytest.skip(f"the split has {len(whole)} whole batches, fewer than {count}")
    return whole[:count]


def _say(timer: Timer, subject: str, letter: str, count: int, seconds: float | None) -> None:
    timer.note(**{letter: count})
    if seconds is None:
        return
    line, pool = timer.point(subject, count, seconds), timer.benchmark.extra_info["pool"]
    timer.report.lines[subject] = (
        f"{seconds:.4f} s at {letter}={count}; no line through fewer than 3 points"
        if line is None
        else f"{line.text(letter)}; one batch and arch b/{pool} = {line.slope / pool:.4f} s"
    )
