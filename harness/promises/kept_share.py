"""What an update keeps of a moving statistic, read off statistics that began with one huge value.

Neither the loss nor the batches' own statistics need be known: beside that value they are nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.moved_statistics import FromHuge, from_huge
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.systems.protocol import Arrays
from harness.wording import counted

__all__ = ["KEPT_SHARE", "KeptShare", "declared_share_is_kept", "kept_share"]


@dataclass(frozen=True)
class KeptShare:
    """Moving statistics after training that they began with one huge value.

    Attributes
    ----------
    share : float
        What an update keeps of a statistic, as the system declares.
    start : float
        That value.
    moved : mapping of str to numpy.ndarray
        Statistics afterwards, by name.
    """

    share: float
    start: float
    moved: Arrays


@needs("train", "state", "save", "restore", "describe", says=("statistics_kept",))
def kept_share(bench: Bench) -> KeptShare:
    """Train a step, or an epoch, from moving statistics of one huge value."""
    share = bench.describe().statistics_kept
    if share is None:
        msg = "the system does not say what an update keeps of a moving statistic"
        raise NotApplicableError(f"{msg} (describe()['statistics_kept'])")
    found: FromHuge = bench.evidence(from_huge)
    return KeptShare(share, found.start, found.moved)


_COUNT_TOLERANCE = 0.01
"""Of one update. What float32 rounds in twenty updates is 0.0001 of one at a share of 0.99."""


def declared_share_is_kept(evidence: KeptShare) -> Outcome:
    """Require what is left of each statistic to be the declared share, to the power of a number.

    ``n`` updates leave ``share ** n`` of the start, and how many there were is the network's
    matter: a net that is run twice, or is recomputed for its gradient, makes two of each. A
    statistic that stood still is frozen, or of an option that no arch ran.
    """
    violations, counts = list[Violation](), list[float]()
    for name, values in evidence.moved.items():
        left = np.asarray(values, np.float64) / evidence.start
        # Of an average of weights and statistics (`ema/norm.moving_mean`) another share is kept.
        if (left == 1).all() or any(name.endswith("/" + own) for own in evidence.moved):
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            updates = np.log(left) / math.log(evidence.share)
        count = float(np.median(updates))
        counts.append(count)
        if not _whole(updates):
            most = float(np.median(left))
            violations.append(
                Violation(
                    f"{name} after training",
                    f"{evidence.share:g} kept by each update, as declared",
                    f"{most:.6g} of it left{_instead(most, evidence.share)}",
                )
            )
    if evidence.moved and not counts:
        msg = "no moving statistic was updated: all are frozen, or training moves none"
        raise NotApplicableError(msg)
    figures = (
        f"{counted(len(counts), 'statistic')} kept {evidence.share:g} of themselves "
        f"in each of {min(counts, default=0):.3g} to {max(counts, default=0):.3g} updates"
    )
    return outcome(_most(violations), len(counts), figures)


def _whole(updates: NDArray[np.float64]) -> bool:
    """Return whether each value was updated one whole number of times, at least once."""
    count = np.round(np.median(updates))
    # Not `>`: a NaN must count as wrong.
    return bool(count >= 1 and (np.abs(updates - count) <= _COUNT_TOLERANCE).all())


_USUAL = (0.9, 0.1, 0.99, 0.01, 0.997, 0.999, 0.001, 0.95, 0.05, 0.5)


def _instead(left: float, declared: float) -> str:
    """Return which usual share leaves as much, in words: the complement before all others."""
    if not 0 < left < 1:
        return ""
    for share in (1 - declared, *_USUAL):
        for times in range(1, 13):
            if math.isclose(math.log(left), times * math.log(share), rel_tol=1e-3):
                return f", as {share:.6g} kept by {counted(times, 'update')} would leave"
    return ""


def _most(violations: Sequence[Violation]) -> list[Violation]:
    if len(violations) <= 3:
        return list(violations)
    rest = Violation("further moving statistics", "none", f"{len(violations) - 3} of them")
    return [*violations[:3], rest]


KEPT_SHARE = Promise(
    id="statistics-kept-share",
    sentence="an update keeps of a moving statistic the share that is declared",
    evidence=kept_share,
    check=declared_share_is_kept,
    hint=(
        "The momentum of the normalisation is another than declared, or has the other library's "
        "meaning: PyTorch's 0.1 keeps 0.9, as TensorFlow's 0.9 does."
    ),
    explained_by=("moving-statistics", "micro-batches-followed"),
)
