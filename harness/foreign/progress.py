"""Checks of another trainer's rows: rates, repetitions, gaps, and what contradicts them."""

import math
from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Any

from harness.errors import NotApplicableError
from harness.foreign.judging import Check, Measured, Subject
from harness.foreign.run import Epoch
from harness.wording import counted, quoted

__all__ = ["COLUMNS_MOVE", "RATE_AS_USED", "ROWS_DIFFER", "VALUES_FINITE"]


def rate_is_as_used(subject: Subject) -> Measured:
    """Find out which step's rate a column of a cosine schedule holds."""
    plan = subject.plan
    if plan.values.get("train.lr_schedule") != "cosine":
        msg = "the schedule is not known to be a cosine (--set train.lr_schedule=cosine)"
        raise NotApplicableError(msg)
    rows = [e for e in subject.run.epochs if e.lr is not None and math.isfinite(e.lr) and e.lr >= 0]
    epochs, steps = plan.count("train.num_epochs"), plan.count("train.steps_per_epoch")
    if not rows:
        msg = "no learning rate is logged"
        raise NotApplicableError(msg)
    if epochs is None or steps is None:
        lacks = "train.num_epochs" if epochs is None else "train.steps_per_epoch"
        msg = f"{lacks} is not known (--config FILE, or --set {lacks}=...)"
        raise NotApplicableError(msg)
    base, total = plan.number("train.lr"), epochs * steps
    # Which step's rate a row may hold: of those taken, the last, or the one after it.
    done = [(e.number - subject.run.first + 1) * steps for e in rows]
    bases = {late: _base(rows, base, [(n - 1 + late) / total for n in done]) for late in (0, 1)}
    values: dict[str, Any] = {"rows": len(rows), "total_steps": total}
    if bases[0] is not None and bases[1] is not None:
        msg = f"{counted(len(rows), 'rate')} with their digits cannot tell one step from the next"
        raise NotApplicableError(msg)
    if bases[0] is None and bases[1] is None:
        msg = f"the rates follow no cosine over {total} steps: another plan, or another schedule"
        raise NotApplicableError(msg)
    late = bases[0] is None
    values |= {"base_lr": bases[1 if late else 0], "ahead": int(late)}
    last = rows[-1]
    which = "the step after" if late else "the last step of"
    text = f"{counted(len(rows), 'rate')}: each is that of {which} its epoch"
    text += f" ({last.lr:.4g} in epoch {last.number}, base {values['base_lr']:.4g})"
    return Measured(text, late, values)


def _base(rows: Sequence[Epoch], base: float | None, places: Sequence[float]) -> float | None:
    """Return the base rate by which all rates follow from their places, None if there is none."""
    known = [] if base is None else [(base, 1e-9)]
    ends, largest = 0, max(row.lr or 0.0 for row in rows)
    for row, place in zip(rows, places, strict=True):
        factor = 0.5 * (1 + math.cos(math.pi * min(max(place, 0.0), 1.0)))
        rate = row.lr or 0.0
        if factor < 1e-12:
            if rate > 1e-12 * largest:
                return None
            ends += 1
        else:
            known.append((rate / factor, row.lr_error))
    if len(known) + ends < 2 or not known:
        return known[0][0] if known else None
    low = max(value * (1 - error) for value, error in known)
    high = min(value * (1 + error) for value, error in known)
    return known[0][0] if 0 < low <= high else None


RATE_AS_USED = Check(
    id="rate-as-used",
    sentence="the column of rates holds those of steps that were taken",
    check=rate_is_as_used,
    meaning=(
        "The column is one step ahead: the rate was computed after the step's counter had gone on. "
        "Training is not touched; whoever reads the log, or continues by it, is one step off."
    ),
)


_TELLING = 12
"""Digits of an epoch's figures, together: with fewer, two epochs of a plateau agree by chance."""


def _digits(values: Sequence[float]) -> int:
    """Return with how many significant digits a column is logged, 0 where nothing is finite."""
    known = (
        Decimal(repr(value)).normalize().as_tuple() for value in values if math.isfinite(value)
    )
    return max((len(one.digits) for one in known), default=0)


def rows_differ(subject: Subject) -> Measured:
    """Look for epochs with the very figures of another."""
    seen: dict[tuple[float, ...], Epoch] = {}
    repeated = []
    looked = few = 0
    rows = [(e, _figures(e)) for e in subject.run.epochs]
    digits = {
        name: _digits([figures[name] for _, figures in rows if name in figures])
        for name in ("loss", "norm", "epe")
    }
    for epoch, figures in rows:
        key = tuple(figures.values())
        if len(key) < 2:
            continue
        if sum(digits[name] for name in figures) < _TELLING:
            few += 1
            continue
        looked += 1
        if key in seen:
            repeated.append((epoch, seen[key]))
        seen.setdefault(key, epoch)
    if looked < 2 and few:
        msg = f"{counted(few, 'epoch')} with figures of fewer than {_TELLING} digits in all, "
        raise NotApplicableError(msg + "which come again by chance")
    if looked < 2:
        msg = f"{counted(looked, 'epoch')} with two figures or more, at least 2 are compared"
        raise NotApplicableError(msg)
    text = f"{counted(looked, 'epoch')}: loss, norm and EPE of no two are equal"
    if repeated:
        new, old = repeated[0]
        text = (
            f"{len(repeated)} of {counted(looked, 'epoch')} repeat another's loss, norm and EPE, "
            f"the first {new.where} that of epoch {old.number} ({old.where})"
        )
    pairs = [[new.number, old.number] for new, old in repeated]
    return Measured(text, bool(repeated), {"epochs": looked, "repeated": pairs})


def _figures(epoch: Epoch) -> dict[str, float]:
    """Return what two epochs are held against each other by."""
    middle = epoch.norm_mean if epoch.norm_mean is not None else epoch.norm_p50
    found = {"loss": epoch.loss, "norm": middle, "epe": epoch.epe}
    return {name: value for name, value in found.items() if value is not None}


ROWS_DIFFER = Check(
    id="rows-differ",
    sentence="no epoch has the very figures of another",
    check=rows_differ,
    meaning=(
        "The same weights were trained on the same batches again: a restart from the same seed, or "
        "a resume that restored no generator (`harness gate --promise resume-exact seeds-matter`)."
    ),
)

_FLAT, _ROUNDED_FLAT, _FINE = 3, 10, 6
"""Last values that are looked at: as many equal ones are no chance. Of a column that has moved
and is logged with fewer digits than `_FINE`, more: on a plateau rounding makes values equal."""

_LAST_DIGITS = 3
"""So much of its last digit a rounded column may have moved before it rests."""


def columns_move(subject: Subject) -> Measured:
    """Look for figures that stay what they were."""
    flat: list[tuple[str, float, int]] = []
    moved: list[tuple[str, float, int]] = []
    for name in ("loss", "epe", "norm_mean", "norm_p50"):
        values = [v for e in subject.run.epochs if (v := getattr(e, name)) is not None]
        values = _once_each(values)
        if len(values) >= 2:
            coarse = len(set(values)) > 1 and _digits(values) < _FINE
            least = _ROUNDED_FLAT if coarse else min(_FLAT, len(values))
            ends = values[-least:]
            same = len(ends) == least and all(value == values[-1] for value in ends)
            same = same and not (coarse and _came_to_rest(values))
            (flat if same else moved).append((name, values[-1], least))
    if not flat and not moved:
        msg = "no figure is logged in two epochs"
        raise NotApplicableError(msg)
    shown = [f"{name} is {last!r} in each of the last {count}" for name, last, count in flat]
    text = "; ".join(shown) or f"{', '.join(name for name, *_ in moved)} move"
    return Measured(text, bool(flat), {"flat": [name for name, *_ in flat],
                                       "move": [name for name, *_ in moved]})  # fmt: skip


def _came_to_rest(values: Sequence[float]) -> bool:
    """Return whether the last change of a column was one of its last digit, as on a plateau."""
    known = [value for value in values if math.isfinite(value)]
    exponents = (Decimal(repr(value)).normalize().as_tuple().exponent for value in known)
    last_digit = Decimal(10) ** min(int(exponent) for exponent in exponents)
    before = next((value for value in reversed(known) if value != known[-1]), known[-1])
    return abs(Decimal(repr(before)) - Decimal(repr(known[-1]))) <= _LAST_DIGITS * last_digit


def _once_each(values: list[float]) -> list[float]:
    """Return a score once for each evaluation, where it is written on until the next one.

    It is where it changes every so many rows, always the same number; the first evaluation may
    come otherwise, and the log may end before the next. A longer end is none of that.
    """
    runs = [len(list(equal)) for _, equal in groupby(values)]
    every = set(runs[1:-1])
    if len(every) != 1 or len(runs) < 4 or runs[-1] > min(every):
        return values
    return [value for value, _ in groupby(values)]


COLUMNS_MOVE = Check(
    id="columns-move",
    sentence="loss, norm and EPE move from epoch to epoch",
    check=columns_move,
    meaning=(
        "Nothing is trained, or what is logged is not computed from it: an optimizer that was not "
        "stepped, a rate of 0, an EPE of a fixed prediction."
    ),
)

_LOOKED_AT = ("loss", "epe", "epe_std", "lr", "norm_mean", "norm_p50", "norm_p90", "norm_p99",
              "clip_count", "clip_rate")  # fmt: skip


_SIGNED = ("loss",)
"""A likelihood's, which may be negative; a norm, rate, count or EPE is not."""


def values_are_finite(subject: Subject) -> Measured:
    """Look for NaN and infinities, and for what is negative and cannot be."""
    epochs = subject.run.epochs
    skipped, unscored = _left_out_steps(epochs), _unscored(epochs)
    wrong, excused = [], dict.fromkeys((_SKIPPED, _UNSCORED), 0)
    for epoch in epochs:
        for name in _LOOKED_AT:
            value = getattr(epoch, name)
            negative = value is not None and value < 0 and name not in _SIGNED
            if value is None or (math.isfinite(value) and not negative):
                continue
            if name.startswith("norm") and epoch.number in skipped and not negative:
                excused[_SKIPPED] += 1
            elif name.startswith("epe") and epoch.number in unscored and not negative:
                excused[_UNSCORED] += 1
            else:
                wrong.append((epoch, name, value))
    count = counted(len(epochs), "epoch")
    but = "".join(f"; {n} {why}" for why, n in excused.items() if n)
    if not wrong:
        text = f"{count}: every {'other ' if but else ''}logged figure is finite, and none below 0"
        return Measured(f"{text} that cannot be{but}", False, {"not_finite": []})
    epoch, name, value = wrong[0]
    what = "not finite, or below 0 where none can be"
    text = f"{len(wrong)} figures in {count} are {what}, the first {name} = {value} "
    text += f"in epoch {epoch.number} ({epoch.where}){but}"
    shown = [[epoch.number, name, quoted(value)] for epoch, name, value in wrong[:20]]
    return Measured(text, True, {"not_finite": shown})


_SKIPPED = (
    "norms are not finite, with finite losses in and behind their epochs: as of steps left out"
)
_UNSCORED = "EPEs are NaN, all but every so many: as of epochs without an evaluation"


def _left_out_steps(epochs: Sequence[Epoch]) -> set[int]:
    """Return epochs whose norm need not be finite: their loss is, and so is what was learnt.

    A loss scaler leaves out a step of which a gradient is not finite, and training goes on. That
    it was left out shows in a finite score, or a finite loss of a later epoch.
    """
    found: set[int] = set()
    healthy = False
    for epoch in reversed(epochs):
        loss, epe = (None if v is None else math.isfinite(v) for v in (epoch.loss, epoch.epe))
        if loss and epe is not False and (healthy or epe):
            found.add(epoch.number)
        if loss is not None or epe is not None:
            healthy = loss is not False and epe is not False
    return found


def _unscored(epochs: Sequence[Epoch]) -> set[int]:
    """Return epochs whose EPE is a NaN because none was measured: one in so many is, regularly."""
    places = [i for i, e in enumerate(epochs) if e.epe is not None and math.isfinite(e.epe)]
    gaps = {b - a for a, b in pairwise(places)}
    regular = len(places) >= 3 and len(gaps) == 1 and (gap := min(gaps)) > 1
    if not regular or places[0] >= gap or len(epochs) - places[-1] > gap:
        return set()
    others = [e for e in epochs if e.epe is not None and math.isnan(e.epe)]
    return {e.number for e in others if e.loss is not None and math.isfinite(e.loss)}


VALUES_FINITE = Check(
    id="values-finite",
    sentence="every logged figure is finite, and no EPE, norm, rate or count is below 0",
    check=values_are_finite,
    meaning=(
        "What is below 0 is of another column, or has another sign. "
        "What follows a NaN is void, and this trainer went on: stop at the first one, and look at "
        "the batch and the rate before it (`harness gate --promise nan-stops`)."
    ),
)
