"""The clip ladder: which threshold to try next, from the norms that were measured.

EdgeFlowNAS's plan of 2026-02-17: diagnose before changing anything, and raise the threshold in
small steps, 5, 20, 50, while clipping stays saturated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["SATURATED", "ClipAdvice", "advise_threshold", "choose_threshold", "next_rung"]

SATURATED = 0.9
"""Clip rate from which on the step length is the threshold's and not the gradient's."""

_FIRST_RUNGS = (5.0, 20.0, 50.0)


@dataclass(frozen=True)
class ClipAdvice:
    """What to try next.

    Attributes
    ----------
    threshold : float
        Global norm; the present one if nothing should change.
    changes : bool
        Whether that is another one.
    reason : str
        One sentence with the figures it rests on.
    clip_rate, p50, p90, p99 : float
        Of the norms that were measured.
    predicted_rate : float
        Share of the same norms above the advised threshold.
    """

    threshold: float
    changes: bool
    reason: str
    clip_rate: float
    p50: float
    p90: float
    p99: float
    predicted_rate: float


def next_rung(threshold: float) -> float:
    """Return the first rung above a threshold: 5, 20, 50, 100, 200, 500, 1000, ...

    Below 5, it is 5.
    """
    for rung in _FIRST_RUNGS:
        if rung > threshold:
            return rung
    decade = 10.0 ** math.floor(math.log10(threshold))
    # The margin: a rung computed here may lie a bit above the very threshold that it is.
    return next(m * decade for m in (1.0, 2.0, 5.0, 10.0) if m * decade > threshold * (1 + 1e-12))


def advise_threshold(norms: Sequence[float], threshold: float) -> ClipAdvice:
    """Return the threshold to try next.

    Where clipping is saturated, that is the next rung of the ladder, or the measured p90 where
    it lies between the two; otherwise the present one.

    Parameters
    ----------
    norms : sequence of float
        Every global norm before clipping, at the clip position in use.
    threshold : float
        The one in use.

    Raises
    ------
    ValueError
        If there is no norm, or one is not finite.
    """
    values = np.asarray(norms, np.float64)
    if not values.size or not np.isfinite(values).all():
        msg = f"expected finite gradient norms, got {values.size} of which some are not"
        raise ValueError(msg)
    p50, p90, p99 = (float(q) for q in np.quantile(values, [0.5, 0.9, 0.99]))
    rate = float((values > threshold).mean())
    chosen, reason = choose_threshold(rate, p90, threshold)
    return ClipAdvice(
        chosen, chosen != threshold, reason, rate, p50, p90, p99, float((values > chosen).mean())
    )


def choose_threshold(
    rate: float, p90: float | None, threshold: float, *, shown: str = ""
) -> tuple[float, str]:
    """Return the threshold to try next, and one sentence why.

    Parameters
    ----------
    rate : float
        Share of the checks that clipped.
    p90 : float or None
        Of the norms before clipping; None where it is not known.
    threshold : float
        The one in use.
    shown : str, optional
        What was measured, for people. Default: the rate.
    """
    shown = shown or f"{rate:.1%} of the checks were clipped at {threshold:g}"
    if rate < SATURATED:
        what = "never acts" if rate == 0 else "shortens some steps and not nearly all"
        return threshold, f"{shown}: clipping {what}, keep it"
    rung = next_rung(threshold)
    if p90 is not None and p90 < rung:
        rounded = float(f"{p90:.3g}")
        # Three digits may round down to the threshold itself, which would change nothing.
        if rounded > threshold:
            return rounded, (
                f"{shown}, so that the threshold sets nearly every step's length; the measured "
                f"p90 of {p90:.4g} lies below the next rung {rung:g}"
            )
    measured = "no p90 is logged" if p90 is None else f"the measured p90 is {p90:.4g}"
    return rung, (
        f"{shown}, so that the threshold sets nearly every step's length; {rung:g} is the next "
        f"rung, {measured}"
    )
