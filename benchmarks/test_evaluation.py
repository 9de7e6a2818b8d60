"""Eval seconds against K and BN-recal seconds against R, for the whole pool."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import median
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.linearity import linearity
from benchmarks.report import fit_line
from benchmarks.timer import Timer
from harness.config import with_overrides
from harness.fc2.batch import Batch

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.evaluation.evaluator import Protocol
    from harness.runs.session import Session

_COUNTS = (1, 2, 4, 6, 8)
_ROUNDS = 7
_FEWEST = 3  # a line through two points has no residual to judge it by


@pytest.fixture(scope="module")
def protocol(session: "Session") -> "Protocol":
    """Return the pool and as many batches as the largest count takes."""
    from harness.evaluation.batches import FixedBatches

    most = max(_COUNTS)
    keys = (f"eval.eval_batches_per_arch={most}", f"eval.bn_recal_batches={most}")
    return FixedBatches(with_overrides(session.config, keys)).protocol(1)


@pytest.mark.benchmark(group="evaluation seconds against K and R")
def test_eval(timer: Timer, session: "Session", protocol: "Protocol") -> None:
    """The pool together on K batches, recalibrated on one; K = 1, 2, 4, 6, 8 in turn."""
    one = protocol.recal_batches[:1]
    protocols = {
        count: replace(protocol, eval_batches=batches, recal_batches=one)
        for count, batches in _firsts(protocol.eval_batches)
    }
    _time(timer, session, protocols, "K", "eval")


@pytest.mark.benchmark(group="evaluation seconds against K and R")
def test_bn_recal(timer: Timer, session: "Session", protocol: "Protocol") -> None:
    """The pool together, recalibrated on R batches, on one; R = 1, 2, 4, 6, 8 in turn."""
    one = protocol.eval_batches[:1]
    protocols = {
        count: replace(protocol, recal_batches=batches, eval_batches=one)
        for count, batches in _firsts(protocol.recal_batches)
    }
    _time(timer, session, protocols, "R", "BN-recal")


def _firsts(batches: Sequence[Batch]) -> list[tuple[int, tuple[Batch, ...]]]:
    """Return each count with so many whole batches; a split of few has fewer counts."""
    whole = [batch for batch in batches if batch.size == batches[0].size]
    return [(count, tuple(whole[:count])) for count in _COUNTS if len(whole) >= count]


def _time(
    timer: Timer, session: "Session", protocols: "Mapping[int, Protocol]", letter: str, subject: str
) -> None:
    """Time evaluations of all counts in each round; require a line through them."""
    weights, pool = session.model.weight_tensors(), len(next(iter(protocols.values())).pool)
    wall: dict[int, list[float]] = {count: [] for count in protocols}
    processor: dict[int, list[float]] = {count: [] for count in protocols}

    def in_turn() -> None:
        for count, protocol in protocols.items():
            start, began = perf_counter(), process_time()
            record, _ = session.evaluator.evaluate(weights, protocol)
            wall[count].append(perf_counter() - start)
            processor[count].append(process_time() - began)
            assert np.isfinite(record.mean_epe)

    timing = timer(in_turn, rounds=_ROUNDS)
    if timing.seconds is None:
        return
    medians = {count: median(values[1:]) for count, values in wall.items()}  # the first compiles
    timer.note(**{letter: medians})
    if len(protocols) < _FEWEST:
        timer.report.lines[subject] = f"no line through {len(protocols)} points: {medians}"
        return
    line, found = fit_line(medians), linearity({c: v[1:] for c, v in processor.items()})
    timer.note(line=asdict(line), linearity=asdict(found))
    timer.report.lines[subject] = (
        f"{line.text(letter)}; one batch and arch b/{pool} = {line.slope / pool:.4f} s; "
        f"{found.text()}"
    )
    assert not found.is_broken, timer.report.lines[subject]
