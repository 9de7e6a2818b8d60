"""Eval seconds against K and BN-recal seconds against R, for the whole pool."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.timer import Timer
from harness.config import with_overrides
from harness.fc2.batch import Batch

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.evaluation.evaluator import Protocol
    from harness.runs.session import Session

_COUNTS = (1, 2, 4, 6, 8)
_ROUNDS = 7
_LEAST_R2 = 0.99  # on a quiet machine


@pytest.fixture(scope="module")
def protocol(session: "Session") -> "Protocol":
    """Return the pool and as many batches as the largest count takes."""
    from harness.evaluation.batches import FixedBatches

    most = max(_COUNTS)
    keys = (f"eval.eval_batches_per_arch={most}", f"eval.bn_recal_batches={most}")
    return FixedBatches(with_overrides(session.config, keys)).protocol(1)


@pytest.mark.benchmark(group="evaluation seconds against K, batches per arch, R = 1")
@pytest.mark.parametrize("count", _COUNTS, ids="K={}".format)
def test_eval(timer: Timer, session: "Session", protocol: "Protocol", count: int) -> None:
    """The pool together on K batches, recalibrated on one."""
    batches, one = _first(protocol.eval_batches, count), protocol.recal_batches[:1]
    _time(timer, session, replace(protocol, eval_batches=batches, recal_batches=one), "K")


@pytest.mark.benchmark(group="evaluation seconds against R, recalibration batches, K = 1")
@pytest.mark.parametrize("count", _COUNTS, ids="R={}".format)
def test_bn_recal(timer: Timer, session: "Session", protocol: "Protocol", count: int) -> None:
    """The pool together, recalibrated on R batches, on one."""
    batches = _first(protocol.recal_batches, count)
    one = protocol.eval_batches[:1]
    _time(timer, session, replace(protocol, recal_batches=batches, eval_batches=one), "R")


def _first(batches: Sequence[Batch], count: int) -> tuple[Batch, ...]:
    whole = [batch for batch in batches if batch.size == batches[0].size]
    if len(whole) < count:
        pytest.skip(f"the split has {len(whole)} whole batches, fewer than {count}")
    return tuple(whole[:count])


def _time(timer: Timer, session: "Session", protocol: "Protocol", letter: str) -> None:
    """Time an evaluation; after the last of the counts, require a line through them."""
    weights = session.model.weight_tensors()
    subject = {"K": "eval", "R": "BN-recal"}[letter]
    count = len(protocol.eval_batches if letter == "K" else protocol.recal_batches)
    timing = timer(lambda: session.evaluator.evaluate(weights, protocol)[0], rounds=_ROUNDS)
    assert np.isfinite(timing.result.mean_epe)
    timer.note(**{letter: count})
    if timing.seconds is None:
        return
    line, pool = timer.point(subject, count, timing.seconds), len(protocol.pool)
    timer.report.lines[subject] = (
        f"{timing.seconds:.4f} s at {letter}={count}; no line through fewer than 3 points"
        if line is None
        else f"{line.text(letter)}; one batch and arch b/{pool} = {line.slope / pool:.4f} s"
    )
    if line is not None and line.points == _COUNTS:
        assert line.r_squared > _LEAST_R2, timer.report.lines[subject]
