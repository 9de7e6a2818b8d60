"""Checks of another trainer's rows: rates, repetitions, gaps, and what contradicts them."""

import math
from collections.abc import Sequence
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


def rows_differ(subject: Subject) -> Measured:
    """Look for epochs with the very figures of another."""
    seen: dict[tuple[float, ...], Epoch] = {}
    repeated = []
    looked = 0
    for epoch in subject.run.epochs:
        middle = epoch.norm_mean if epoch.norm_mean is not None else epoch.norm_p50
        key = tuple(v for v in (epoch.loss, middle, epoch.epe) if v is not None)
        if len(key) < 2:
            continue
        looked += 1
        if key in seen:
            repeated.append((epoch, seen[key]))
        seen.setdefault(key, epoch)
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


ROWS_DIFFER = Check(
    id="rows-differ",
    sentence="no epoch has the very figures of another",
    check=rows_differ,
    meaning=(
        "The same weights were trained on the same batches again: a restart from the same seed, or "
        "a resume that restored no generator (`harness gate --promise resume-exact seeds-matter`)."
    ),
)

_FLAT = 3
"""Last values that are looked at: as many equal ones are no chance."""


def columns_move(subject: Subject) -> Measured:
    """Look for figures that stay what they were."""
    flat: list[tuple[str, float, int]] = []
    moved: list[tuple[str, float, int]] = []
    for name in ("loss", "epe", "norm_mean", "norm_p50"):
        values = [v for e in subject.run.epochs if (v := getattr(e, name)) is not None]
        if len(values) >= 2:
            same = all(value == values[-1] for value in values[-_FLAT:])
            (flat if same else moved).append((name, values[-1], min(len(values), _FLAT)))
    if not flat and not moved:
        msg = "no figure is logged in two epochs"
        raise NotApplicableError(msg)
    shown = [f"{name} is {last!r} in each of the last {count}" for name, last, count in flat]
    text = "; ".join(shown) or f"{', '.join(name for name, *_ in moved)} move"
    return Measured(text, bool(flat), {"flat": [name for name, *_ in flat],
                                       "move": [name for name, *_ in moved]})  # fmt: skip


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
    wrong = [
        (epoch, name, value)
        for epoch in subject.run.epochs
        for name in _LOOKED_AT
        if (value := getattr(epoch, name)) is not None
        and (not math.isfinite(value) or (value < 0 and name not in _SIGNED))
    ]
    count = counted(len(subject.run.epochs), "epoch")
    if not wrong:
        text = f"{count}: every logged figure is finite, and none below 0 that cannot be"
        return Measured(text, False, {"not_finite": []})
    epoch, name, value = wrong[0]
    what = "not finite, or below 0 where none can be"
    text = f"{len(wrong)} figures in {count} are {what}, the first {name} = {value} "
    text += f"in epoch {epoch.number} ({epoch.where})"
    shown = [[epoch.number, name, quoted(value)] for epoch, name, value in wrong[:20]]
    return Measured(text, True, {"not_finite": shown})


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
