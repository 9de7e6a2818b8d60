"""Which K and R follow from what an evaluation costs and how noisy it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.evaluation.budget import Budget, Noise, RecalEffect

__all__ = ["Advice", "advise"]

_ROUNDING = 1e-9
"""SciPy's tau of two equal rankings is 1 but for rounding."""


@dataclass(frozen=True)
class Advice:
    """Which K and R to use.

    Attributes
    ----------
    batches, recal : int or None
        K and R; None where no setting does what was asked.
    seconds : float or None
        Predicted for the pool.
    reasons : tuple of str
        Why.
    """

    batches: int | None
    recal: int | None
    seconds: float | None
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "batches_per_arch": self.batches, "recal_batches": self.recal,
            "seconds": self.seconds, "reasons": list(self.reasons),
        }  # fmt: skip


def advise(budget: Budget, *, tau: float | None = None, limit: float | None = None) -> Advice:
    """Recommend K and R.

    For a rank resolution: the smallest K from which on tau, averaged over draws of K batches,
    stays at or above it. For a time limit: the largest K that fits it. R is the smallest one
    measured that changes no score by more than the standard error of a difference at that K.

    Parameters
    ----------
    tau : float, optional
        Wanted rank resolution.
    limit : float, optional
        Seconds that one evaluation of the pool may take.

    Raises
    ------
    ValueError
        If neither is given.
    """
    if tau is not None:
        return _for_tau(budget, tau, limit)
    if limit is None:
        msg = "expected a rank resolution, a time limit or both, got neither"
        raise ValueError(msg)
    return _for_limit(budget, limit)


def _for_tau(budget: Budget, tau: float, limit: float | None) -> Advice:
    found = _enough(budget.noise, tau)
    if found is None:
        reason = budget.noise[-1].reason or "the ranking of the whole split is undefined"
        return Advice(None, None, None, (f"no K ranks these archs: {reason}",))
    chosen, why = _recal_for(found, budget.recal)
    seconds = budget.cost.seconds(found.batches, chosen)
    reasons = (f"from K = {found.batches} on, mean tau stays at or above {tau:g}", why)
    if limit is not None and seconds > limit:
        late = f"it takes {seconds:.3g} s, over the limit of {limit:g} s: no setting does both"
        return Advice(None, None, None, (*reasons, late))
    return Advice(found.batches, chosen, seconds, reasons)


def _for_limit(budget: Budget, limit: float) -> Advice:
    cost, noise, recal, whole = budget.cost, budget.noise, budget.recal, budget.noise[-1].batches
    for effect in reversed(recal):
        most = min(cost.most_batches(limit, effect.recal), whole)
        if not most:
            continue
        chosen, why = effect.recal, f"R = {effect.recal}, because more does not fit"
        if effect is recal[-1]:
            chosen, why = _recal_for(_at_most(noise, most), recal)
        # Seconds that a smaller R saves buy batches.
        most = min(cost.most_batches(limit, chosen), whole)
        return Advice(most, chosen, cost.seconds(most, chosen), (_fits(most, whole, limit), why))
    least = cost.seconds(1, recal[0].recal)
    reason = f"the least, K = 1 and R = {recal[0].recal}, takes {least:.3g} s, over {limit:g} s"
    return Advice(None, None, None, (reason,))


def _fits(most: int, whole: int, limit: float) -> str:
    if most == whole:
        return f"the whole split of {whole} batches fits {limit:g} s"
    return f"K = {most} of {whole} batches is the most that fits {limit:g} s"


def _at_most(noise: Sequence[Noise], batches: int) -> Noise:
    return [n for n in noise if n.batches <= batches][-1]


def _enough(noise: Sequence[Noise], tau: float) -> Noise | None:
    found = None
    # From the whole split down: a K that is high enough by luck, below one that is not, must not
    # be the answer.
    for entry in reversed(noise):
        if entry.tau_mean is None or entry.tau_mean < tau - _ROUNDING:
            break
        found = entry
    return found


def _recal_for(noise: Noise, recal: Sequence[RecalEffect]) -> tuple[int, str]:
    error = noise.pair_error
    for effect in recal[:-1]:
        if error is not None and abs(effect.worst_difference) <= error:
            return effect.recal, (
                f"R = {effect.recal}: no score is more than {abs(effect.worst_difference):.2g} px "
                f"from that with R = {effect.most}, within the standard error of a difference of "
                f"two archs, {error:.2g} px"
            )
    return recal[-1].recal, f"R = {recal[-1].recal}: fewer move a score by more than the noise"
