"""What a run's own evaluations say of the search space, by its ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config import ConfigError, parse_config
from harness.evaluation.ranking import kendall_tau
from harness.evaluation.scored_space import ScoredSpace, scored_space
from harness.records.records import EvalRecord
from harness.reporting.curves import View
from harness.reporting.space import batches_text
from harness.wording import counted

__all__ = ["LAST_EVALUATIONS", "PoolSpace", "Tau", "pool_space", "rank_tau"]

LAST_EVALUATIONS = 8
"""Evaluations whose rankings are held against each other."""


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b of two rankings of the archs that both hold, or why there is none."""

    one: str
    other: str
    archs: int
    tau: float | None
    reason: str | None


@dataclass(frozen=True)
class PoolSpace:
    """A run's last evaluation, and how its rankings agree over epochs.

    Attributes
    ----------
    name : str
        Of the run.
    space : ScoredSpace or None
        Of the last evaluation that is shown.
    about : str
        Which evaluation, or why there is none.
    epochs : tuple of int
        Of the last evaluations of its metric series, on the same archs and batches.
    taus : tuple of tuple of (float or None)
        Kendall's tau-b, shape (epochs, epochs); None where it is undefined.
    """

    name: str
    space: ScoredSpace | None
    about: str
    epochs: tuple[int, ...] = ()
    taus: tuple[tuple[float | None, ...], ...] = ()


def pool_space(view: View) -> PoolSpace:
    """Return what the evaluations of the shown metric series say."""
    evals = [
        (attempt, record)
        for attempt in view.metric
        for record in attempt.of(EvalRecord)
        if len(record.archs) == len(record.per_arch_epe)  # an audit tells of others
    ]
    if not evals:
        return PoolSpace(view.name, None, "its records hold no scores of single archs")
    attempt, last = evals[-1]
    # Of one metric series, as everywhere: with other recalibration batches ranks do not compare.
    same = [
        record
        for one, record in evals
        if one.series == attempt.series and _pool(record) == _pool(last)
    ][-LAST_EVALUATIONS:]
    scores = [record.per_arch_epe for record in same]
    taus = tuple(tuple(kendall_tau(a, b)[0] for b in scores) for a in scores)
    space, reason = _space(attempt.opening.config, last)
    about = (
        f"its last evaluation, epoch {last.epoch}: {counted(len(last.archs), 'arch')}, "
        f"{batches_text(last.batches, last.recal_batches)}{reason}"
    )
    return PoolSpace(view.name, space, about, tuple(record.epoch for record in same), taus)


def _pool(record: EvalRecord) -> tuple[object, ...]:
    return record.archs, record.eval_batch_hash


def _space(config: Mapping[str, Any], record: EvalRecord) -> tuple[ScoredSpace | None, str]:
    try:
        known = parse_config(config)
        space = scored_space(
            record.archs, record.per_arch_epe, skeleton=known.model.skeleton,
            width=known.model.width, size=known.eval_crop,
        )  # fmt: skip
    except (ConfigError, ValueError, OverflowError) as error:
        return None, f"; what archs cost is not known: {error}"
    return space, ""


def rank_tau(one: tuple[str, ScoredSpace], other: tuple[str, ScoredSpace]) -> Tau:
    """Return how two evaluations rank the archs that both scored."""
    (name, space), (other_name, other_space) = one, other
    if space.skeleton != other_space.skeleton:
        why = f"skeletons {space.skeleton} and {other_space.skeleton}: a code is another arch"
        return Tau(name, other_name, 0, None, why)
    scores = [dict(zip(each.archs, each.epe, strict=True)) for each in (space, other_space)]
    common: Sequence[str] = [arch for arch in space.archs if arch in scores[1]]
    if len(common) < 2:
        return Tau(name, other_name, len(common), None, "fewer than two archs in common")
    tau, reason = kendall_tau(*([each[arch] for arch in common] for each in scores))
    return Tau(name, other_name, len(common), tau, reason)
