"""Checks of another trainer's clipping: whether it saturates, and what its checks tell."""

import math
import statistics
from collections.abc import Sequence

from harness.errors import NotApplicableError
from harness.foreign.judging import Check, Measured, Subject
from harness.foreign.run import Epoch
from harness.wording import counted

__all__ = ["CLIP_NOT_SATURATED", "MICRO_BATCHES_AS_CONFIGURED", "clip_rates"]

_THRESHOLD = "train.grad_clip_global_norm"


def clip_rates(subject: Subject) -> list[tuple[Epoch, float]]:
    """Return the clip rate of each epoch that logs one.

    Raises
    ------
    NotApplicableError
        If none does, or one is no share.
    """
    rates = [(e, e.clip_rate) for e in subject.run.epochs if e.clip_rate is not None]
    wrong = [f"{rate!r} ({e.where})" for e, rate in rates if not 0 <= rate <= 1]
    if wrong:
        msg = f"expected a share of the checks as clip rate, found {wrong[0]}"
        raise NotApplicableError(msg)
    if not rates:
        msg = "no clip rate is logged"
        raise NotApplicableError(msg)
    return rates


def clip_is_not_saturated(subject: Subject) -> Measured:
    """Measure clip rate, and the norm's middle over the threshold."""
    threshold, norms = subject.plan.number(_THRESHOLD), _norms(subject.run.epochs)
    try:
        rates = clip_rates(subject)
    except NotApplicableError as error:
        return _by_norm_alone(subject, threshold, norms, str(error))
    mean = math.fsum(rate for _, rate in rates) / len(rates)
    full = sum(rate >= subject.limits.saturated for _, rate in rates)
    text = f"clip rate {mean:.4f}, at least {subject.limits.saturated:g} in {full} of "
    text += counted(len(rates), "epoch")
    values = {"clip_rate": mean, "saturated_epochs": full, "epochs": len(rates)}
    return Measured(*_with_factor(text, values, threshold, norms, mean >= subject.limits.saturated))


def _by_norm_alone(
    subject: Subject, threshold: float | None, norms: Sequence[tuple[float, str]], why: str
) -> Measured:
    if threshold is None or threshold <= 0 or not norms:
        lacks = "no gradient norm is" if threshold else "neither norm nor threshold are"
        unset = f"{_THRESHOLD} is not known (--set {_THRESHOLD}=...)" if norms else f"{lacks} known"
        msg = f"{why}, and {unset}"
        raise NotApplicableError(msg)
    lows: list[tuple[float, str] | None] = [
        (e.norm_p10, "p10") if e.norm_p10 is not None else e.norm for e in subject.run.epochs
    ]
    known = [low for low in lows if low is not None and math.isfinite(low[0])]
    above = sum(low > threshold for low, _ in known) / len(known)
    whole = all(name == "p10" for _, name in known)
    text = f"in {above:.1%} of {counted(len(known), 'epoch')} "
    text += f"{'even the p10 of the norms' if whole else 'the norm'} exceeds the threshold ({why})"
    values = {"epochs_above": above, "epochs": len(known)}
    found = above >= subject.limits.saturated
    return Measured(*_with_factor(text, values, threshold, norms, found))


def _with_factor(
    text: str, values: dict[str, float], threshold: float | None,
    norms: Sequence[tuple[float, str]], found: bool,
) -> tuple[str, bool, dict[str, float | str]]:  # fmt: skip
    """Add by what factor the norm's middle exceeds the threshold."""
    more: dict[str, float | str] = dict(values)
    if not norms:
        return f"{text}; no norm is logged, so that no factor is known", found, more
    which = norms[0][1]
    middle = statistics.median(norm for norm, _ in norms)
    of = "" if which == "p50" else ", p50 is not logged"
    text += f"; norm {which} {middle:.4g} (middle of the epochs{of})"
    more |= {"norm": middle, "norm_is": which}
    if threshold is None or threshold <= 0:
        return f"{text}; the threshold is not known (--set {_THRESHOLD}=...)", found, more
    more |= {"threshold": threshold, "factor": middle / threshold}
    return f"{text}, {middle / threshold:.3g} times the threshold {threshold:g}", found, more


def _norms(epochs: Sequence[Epoch]) -> list[tuple[float, str]]:
    known = [epoch.norm for epoch in epochs]
    found = [norm for norm in known if norm is not None and math.isfinite(norm[0])]
    best = [norm for norm in found if norm[1] == "p50"]
    return best or found


CLIP_NOT_SATURATED = Check(
    id="clip-not-saturated",
    sentence="clipping shortens some steps and not nearly all",
    check=clip_is_not_saturated,
    meaning=(
        "The step length is the threshold's, not the gradient's: the learning rate tunes nothing "
        "else. Raise the threshold by one rung in a run of another name (`harness clip-study "
        "--advise DIR` names it), or clip once per accumulated update."
    ),
)


def micro_batches_are_as_configured(subject: Subject) -> Measured:
    """Derive ceil(batch / micro-batch) from the count of clip checks."""
    steps, archs = subject.plan.count("train.steps_per_epoch"), subject.plan.count(_ARCHS)
    if steps is None:
        msg = "the steps of an epoch are not known (--set train.steps_per_epoch=...)"
        raise NotApplicableError(msg)
    if archs is None:
        msg = f"the archs of a step are not known (--set {_ARCHS}=...)"
        raise NotApplicableError(msg)
    epochs = [e for e in subject.run.epochs if e.clip_count and e.clip_rate]
    if not epochs:
        msg = "nothing was clipped, or no count is logged: the rate does not say of how many checks"
        raise NotApplicableError(msg)
    found = {_each_step(epoch, steps, archs) for epoch in epochs}
    if None in found and len(found) > 1:
        found.discard(None)
    if found == {None}:
        msg = "the rate is logged with too few digits to tell the count of checks"
        raise NotApplicableError(msg)
    if len(found) > 1:
        shown = ", ".join(f"{one:g}" for one in sorted(one for one in found if one))
        values = {"checks_per_step": sorted(one for one in found if one)}
        return Measured(f"{shown} clip checks a step, another count by epoch", True, values)
    (each,) = found
    return _held_against_plan(subject, float(each or 0), steps, archs)


_ARCHS = "search.archs_per_step"


def _each_step(epoch: Epoch, steps: int, archs: int) -> float | None:
    """Return the clip checks of one step, None where rounding leaves several counts possible."""
    count, rate = epoch.clip_count or 0.0, epoch.clip_rate or 0.0
    if not (math.isfinite(count) and math.isfinite(rate)) or rate <= 0 or count <= 0:
        return None
    # A rate of 0.0125 (four digits) of 5 checks is 400 of them, give or take two.
    low = count / min(rate + epoch.rate_error, 1.0) / steps
    high = count / max(rate - epoch.rate_error, 1e-12) / steps
    room = 1e-6 * high
    if low - room <= 1 <= high + room and high < archs:
        return 1.0
    first, last = math.ceil((low - room) / archs), math.floor((high + room) / archs)
    if first == last:
        return float(first * archs)
    return None if first < last else round(count / rate / steps, 3)


def _held_against_plan(subject: Subject, each: float, steps: int, archs: int) -> Measured:
    values: dict[str, float] = {"checks_per_step": each, "checks": each * steps}
    text = f"{each * steps:g} clip checks in {counted(steps, 'step')}, {each:g} a step"
    if each == 1 and archs > 1:
        wrong = subject.configured.values.get("train.clip_position") == "micro_step"
        what = f"{text}: clipped once an update, which leaves no trace of the micro-batches"
        return Measured(what + (", micro_step is configured" if wrong else ""), wrong, values)
    if each % archs:
        return Measured(f"{text}: no multiple of {archs} archs", True, values)
    values["implied"] = implied = int(each // archs)
    text += f" of {archs} archs: ceil(batch / micro-batch) is {implied}"
    # What was configured goes before what the run says of itself.
    plan = subject.configured.over(subject.plan)
    batch, micro = (plan.count(f"train.{name}") for name in ("batch_size", "micro_batch_size"))
    if batch is None or micro is None:
        msg = f"{text}; what was configured is not known (--config FILE, or --set train.batch_size="
        raise NotApplicableError(f"{msg}... and --set train.micro_batch_size=...)")
    values["configured"] = due = math.ceil(batch / min(micro, batch))
    text += f", configured ceil({batch} / {micro}) = {due}"
    return Measured(text, implied != due, values)


MICRO_BATCHES_AS_CONFIGURED = Check(
    id="micro-batches-as-configured",
    sentence="the count of clip checks implies the configured micro-batches",
    check=micro_batches_are_as_configured,
    meaning=(
        "The run was cut into other micro-batches than configured: BN statistics, clipping and "
        "memory are of another size. Compare the first lines of its log with the file that was "
        "meant to be in force."
    ),
)
