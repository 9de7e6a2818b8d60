"""Checks of another trainer's evaluations: against the zero flow, over the pool, by rank."""

import math
from itertools import pairwise

from harness.errors import NotApplicableError
from harness.evaluation.ranking import kendall_tau
from harness.foreign.judging import Check, Measured, Subject
from harness.foreign.run import Epoch
from harness.wording import counted

__all__ = ["EPE_BELOW_ZERO_FLOW", "POOL_SPREAD", "RANKING_BEYOND_CHANCE", "consecutive_taus"]


def _scored(subject: Subject) -> list[Epoch]:
    found = [e for e in subject.run.scored if e.epe is not None and math.isfinite(e.epe)]
    if not found:
        msg = "no EPE is logged"
        raise NotApplicableError(msg)
    return found


def epe_is_below_zero_flow(subject: Subject) -> Measured:
    """Measure the last EPE against an all-zero flow's."""
    scored, zero = _scored(subject), subject.zero
    if zero is None:
        msg = "the zero flow's EPE is not logged (--zero-flow PX, or --fc2-root DIR measures it)"
        raise NotApplicableError(msg)
    last = scored[-1]
    ratios = [(e.epe or 0.0) / zero.epe for e in scored]
    near = sum(ratio >= subject.limits.near_zero_flow for ratio in ratios)
    text = (
        f"EPE {last.epe:.4f} px in epoch {last.number}, {ratios[-1]:.2f} of an all-zero flow's "
        f"{zero.epe:.4f} px ({zero.source}); at least {subject.limits.near_zero_flow:g} of it in "
        f"{near} of {counted(len(scored), 'evaluation')}"
    )
    values = {"epe": last.epe, "zero_flow_epe": zero.epe, "zero_flow_source": zero.source,
              "ratio": ratios[-1], "near": near, "evaluations": len(scored)}  # fmt: skip
    return Measured(text, ratios[-1] >= subject.limits.near_zero_flow, values)


EPE_BELOW_ZERO_FLOW = Check(
    id="epe-below-zero-flow",
    sentence="the pool scores clearly better than an all-zero flow",
    check=epe_is_below_zero_flow,
    meaning=(
        "The network has learnt nothing yet, or the number is not that of its flow: EdgeFlowNAS "
        "scored its last residual scale alone and stayed there. Gate the metric before tuning "
        "anything (`harness gate --promise metric-oracle metric-recomputed metric-alive`)."
    ),
)


def pool_is_spread(subject: Subject) -> Measured:
    """Measure the spread of the last evaluation over the pool."""
    scored = _scored(subject)
    last = next((e for e in reversed(scored) if e.epe_std is not None or e.ranking), None)
    if last is None or not last.epe:
        msg = "no spread over a pool is logged"
        raise NotApplicableError(msg)
    values: dict[str, float] = {"epoch": last.number, "epe": last.epe}
    text = f"epoch {last.number}"
    if last.epe_std is not None:
        values["std"] = last.epe_std
        text += f": {last.epe:.4f} +- {last.epe_std:.4f} px, {last.epe_std / last.epe:.2%}"
    scores = [epe for _, epe in last.ranking]
    if scores:
        values |= {"min": min(scores), "max": max(scores), "archs": len(scores)}
        text += f", {min(scores):.4f} to {max(scores):.4f} px over {counted(len(scores), 'arch')}"
    spread = last.epe_std if last.epe_std is not None else max(scores) - min(scores)
    return Measured(text, spread < subject.limits.alike * last.epe, values)


POOL_SPREAD = Check(
    id="pool-spread",
    sentence="archs of the pool do not all score alike",
    check=pool_is_spread,
    meaning=(
        "A metric that does not see the arch ranks nothing: either one path is run for all of "
        "them, or what is scored hardly depends on the network (`harness gate --promise "
        "metric-alive arch-executed`)."
    ),
)


def consecutive_taus(epochs: list[Epoch]) -> tuple[list[tuple[int, float]], list[str]]:
    """Return tau-b of each ranking and the one before, by epoch, and why others have none.

    Rankings of other archs than the one before are not compared.
    """
    found, undefined = [], []
    for old, new in pairwise(e for e in epochs if e.ranking):
        before, now = dict(old.ranking), dict(new.ranking)
        if before.keys() != now.keys():
            undefined.append(f"epoch {new.number}: another pool")
            continue
        scores = [[ranking[arch] for arch in sorted(now)] for ranking in (now, before)]
        if not all(map(math.isfinite, (*scores[0], *scores[1]))):
            undefined.append(f"epoch {new.number}: a score is not finite")
            continue
        tau, why = kendall_tau(*scores)
        if tau is None:
            undefined.append(f"epoch {new.number}: {why}")
        else:
            found.append((new.number, tau))
    return found, undefined


def ranking_is_beyond_chance(subject: Subject) -> Measured:
    """Measure tau between consecutive rankings, against what unrelated ones have."""
    ranked = [epoch for epoch in subject.run.epochs if epoch.ranking]
    if len(ranked) < 2:
        count = counted(len(ranked), "ranking")
        msg = f"tau compares two rankings, {count} logged"
        raise NotApplicableError(msg)
    taus, undefined = consecutive_taus(ranked)
    if not taus:
        msg = f"no two rankings compare: {undefined[0]}"
        raise NotApplicableError(msg)
    archs = len(ranked[-1].ranking)
    limit = subject.limits.sigmas * _deviation(archs) / math.sqrt(len(taus))
    mean = math.fsum(tau for _, tau in taus) / len(taus)
    if limit >= 1:
        msg = f"tau is {mean:.3f}, and {counted(archs, 'arch')} cannot tell it from chance"
        raise NotApplicableError(msg)
    text = (
        f"tau-b {mean:.3f} on average of {counted(len(taus), 'pair')} of consecutive rankings of "
        f"{archs} archs, {min(tau for _, tau in taus):.3f} at least; unrelated ones stay below "
        f"{limit:.3f}"
    )
    values = {"tau_mean": mean, "taus": [list(pair) for pair in taus], "chance": limit,
              "archs": archs, "undefined": undefined}  # fmt: skip
    return Measured(text, mean <= limit, values)


def _deviation(archs: int) -> float:
    """Return tau's standard deviation for unrelated rankings without ties.

    Kendall, M. G. (1938), A New Measure of Rank Correlation, Biometrika 30: 2 (2 n + 5) / 9 n
    (n - 1) is its variance.
    """
    return math.inf if archs < 2 else math.sqrt(2 * (2 * archs + 5) / (9 * archs * (archs - 1)))


RANKING_BEYOND_CHANCE = Check(
    id="ranking-beyond-chance",
    sentence="consecutive rankings agree better than chance",
    check=ranking_is_beyond_chance,
    meaning=(
        "The order of the archs is noise: evaluation batches or crops are drawn anew, too few are "
        "scored, or BN statistics are of random batches. Fix what is scored, then score more "
        "(`harness gate --promise same-scores-again`, `harness budget`)."
    ),
)
