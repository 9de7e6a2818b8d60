"""What a report draws, as numbers: which attempts are shown, and polylines cut at borders."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.records.records import EpochRecord
from harness.records.run import Attempt, RunHistory
from harness.reporting.borders import Border, Segment, border, borders, run_segments, short_digest

__all__ = [
    "PANELS", "Curve", "Drawing", "Panel", "Points", "Quantity", "View", "clip_threshold",
    "drawing", "epochs_text", "polylines", "view",
]  # fmt: skip

Points = tuple[tuple[float, float], ...]
"""A polyline: (epoch, value) by epoch."""

_Value = Callable[[Attempt, EpochRecord], float | None]


@dataclass(frozen=True)
class View:
    """What is shown of a run.

    Attributes
    ----------
    name : str
        What the run is called.
    history : RunHistory
        The whole run.
    training : tuple of Attempt
        Shown in curves of training.
    metric : tuple of Attempt
        Shown in curves of what an evaluation yields.
    left_out : tuple of str
        What ``--across-segments`` would add.
    """

    name: str
    history: RunHistory
    training: tuple[Attempt, ...]
    metric: tuple[Attempt, ...]
    left_out: tuple[str, ...]

    @property
    def newest(self) -> Attempt | None:
        """The last attempt with a finished epoch, if any."""
        return next((attempt for attempt in reversed(self.training) if attempt.rows), None)

    @property
    def borders(self) -> tuple[Border, ...]:
        """Borders between the attempts that are shown."""
        return borders(self.training)


def view(name: str, history: RunHistory, *, across: bool) -> View:
    """Return what is shown of a run.

    Parameters
    ----------
    name : str
        What it is called.
    history : RunHistory
        The whole run.
    across : bool
        Whether everything is shown; by default the newest segment that has a finished epoch, and of
        what an evaluation yields the newest metric series in it.
    """
    every = history.lasting
    if across or not history.rows:
        return View(name, history, every, every, ())
    parts = run_segments(history)
    newest = max(i for i, part in enumerate(parts) if _rows(part.attempts))
    training = parts[newest].attempts
    series = [tuple(group) for _, group in groupby(training, key=lambda attempt: attempt.series)]
    last = max(i for i, group in enumerate(series) if _rows(group))
    left_out = [f"segment {part.name} ({_epochs(part)})" for part in parts[:newest]]
    left_out += [
        f"EPE, tau and evaluation times of metric series {short_digest(group[0].opening.protocol)} "
        f"({epochs_text(_rows(group))})"
        for group in series[:last]
        if _rows(group)
    ]
    return View(name, history, training, series[last], tuple(left_out))


def _epochs(part: Segment) -> str:
    return epochs_text(_rows(part.attempts))


def _rows(attempts: Iterable[Attempt]) -> list[EpochRecord]:
    return [row for attempt in attempts for row in attempt.rows]


def epochs_text(rows: Sequence[EpochRecord]) -> str:
    """Return which epochs the rows are of."""
    if not rows:
        return "no finished epoch"
    first, last = rows[0].epoch, rows[-1].epoch
    return f"epoch {first}" if first == last else f"epochs {first} to {last}"


@dataclass(frozen=True)
class Quantity:
    """One kind of curve of a panel; `role` says how it is drawn."""

    label: str
    value: _Value
    role: str = "main"


@dataclass(frozen=True)
class Panel:
    """A plot: quantities over epochs.

    Attributes
    ----------
    title, unit : str
        For people.
    quantities : tuple of Quantity
        Lines.
    band : tuple of Quantity
        None, or the lower and the upper edge of a band.
    metric : bool
        Whether an evaluation yields it, so that a new protocol makes it another quantity.
    log : bool
        Whether a logarithmic axis is sensible where all values are positive.
    limits : (float, float) or None
        Of the axis, where the quantity has some.
    """

    title: str
    unit: str
    quantities: tuple[Quantity, ...]
    band: tuple[Quantity, ...] = ()
    metric: bool = False
    log: bool = False
    limits: tuple[float, float] | None = None


def _column(name: str) -> _Value:
    def value(_: Attempt, row: EpochRecord) -> float | None:
        found: float | None = getattr(row, name)
        return found

    return value


def clip_threshold(attempt: Attempt) -> float | None:
    """Return an attempt's clip threshold, a global gradient norm, if its configuration says it."""
    value = (attempt.opening.config.get("train") or {}).get("grad_clip_global_norm")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


PANELS = (
    Panel(
        "EPE over the pool", "px",
        (Quantity("mean", _column("mean_epe_12")),
         Quantity("all-zero flow", _column("zero_flow_epe"), "level")),
        band=(Quantity("min", _column("per_arch_epe_min")),
              Quantity("max", _column("per_arch_epe_max"))),
        metric=True,
    ),
    Panel(
        "Kendall's tau-b against the previous evaluation", "tau-b",
        (Quantity("tau", _column("kendall_tau_prev")),), metric=True, limits=(-1.0, 1.0),
    ),
    Panel(
        "Clip rate", "clipped checks / checks", (Quantity("clip rate", _column("clip_rate")),),
        limits=(0.0, 1.0),
    ),
    Panel(
        "Gradient norm before clipping", "global norm",
        (Quantity("p50", _column("grad_norm_p50")),
         Quantity("p90", _column("grad_norm_p90"), "second"),
         Quantity("p99", _column("grad_norm_p99"), "third"),
         Quantity("clip threshold", lambda attempt, _: clip_threshold(attempt), "level")),
        log=True,
    ),
    Panel(
        "Training loss", "mean of the epoch", (Quantity("loss", _column("train_loss_epoch_avg")),)
    ),
    Panel("Learning rate", "last step's", (Quantity("lr", _column("lr")),)),
    Panel(
        "Evaluation time", "s",
        (Quantity("scoring", _column("eval_seconds")),
         Quantity("BN recalibration", _column("bn_recal_seconds"), "second")),
        metric=True,
    ),
)  # fmt: skip
"""What a report draws, in order."""


@dataclass(frozen=True)
class Curve:
    """One polyline, or the two edges of a band.

    Attributes
    ----------
    run : int
        Index of the run.
    label, role : str
        Of the quantity.
    points : tuple of (float, float)
        (epoch, value).
    upper : tuple of (float, float)
        Of a band, its upper edge over the same epochs.
    """

    run: int
    label: str
    role: str
    points: Points
    upper: Points = ()


@dataclass(frozen=True)
class Drawing:
    """A panel's curves and borders: everything that drawing needs."""

    panel: Panel
    curves: tuple[Curve, ...]
    borders: tuple[tuple[int, Border], ...]
    epochs: tuple[int, int]

    @property
    def log(self) -> bool:
        """Whether the axis is logarithmic."""
        values = [v for curve in self.curves for _, v in (*curve.points, *curve.upper)]
        return self.panel.log and bool(values) and min(values) > 0


def drawing(panel: Panel, views: Sequence[View]) -> Drawing:
    """Prepare a panel for drawing; no curve of it crosses a border that it must not."""
    curves = [curve for run, shown in enumerate(views) for curve in _curves(panel, run, shown)]
    rows = [row.epoch for shown in views for row in _rows(shown.training)]
    marks = tuple((run, mark) for run, shown in enumerate(views) for mark in shown.borders)
    return Drawing(panel, tuple(curves), marks, (min(rows), max(rows)))


def _curves(panel: Panel, run: int, shown: View) -> list[Curve]:
    attempts = shown.metric if panel.metric else shown.training

    def lines(quantity: Quantity) -> list[Points]:
        return polylines(attempts, quantity.value, metric=panel.metric)

    curves = []
    if panel.band:
        low, high = panel.band
        top = dict(point for points in lines(high) for point in points)
        for points in lines(low):
            # An upper edge that is missing closes the band there.
            upper = tuple((x, top.get(x, y)) for x, y in points)
            curves.append(Curve(run, f"{low.label} to {high.label}", "band", points, upper))
    for quantity in panel.quantities:
        curves += [Curve(run, quantity.label, quantity.role, points) for points in lines(quantity)]
    return curves


def polylines(attempts: Sequence[Attempt], value: _Value, *, metric: bool) -> list[Points]:
    """Return a quantity's curve, cut where it must not be joined.

    It is cut at every segment border, where a row is missing, and where an evaluation left the
    value undefined.

    Parameters
    ----------
    metric : bool
        Whether an evaluation yields the quantity: then it is cut at a new metric series, too,
        and epochs without an evaluation lie between its points.
    """
    lines: list[list[tuple[float, float]]] = [[]]
    expected: int | None = None
    before: Attempt | None = None
    for attempt in attempts:
        if before is not None and _cuts(before, attempt, metric=metric):
            lines.append([])
        before = attempt
        for row in attempt.rows:
            found = value(attempt, row)
            unscored = metric and row.mean_epe_12 is None
            if (found is None and not unscored) or row.epoch != (expected or row.epoch):
                lines.append([])
            if found is not None:
                lines[-1].append((row.epoch, found))
            expected = row.epoch + 1
    return [tuple(line) for line in lines if line]


def _cuts(old: Attempt, new: Attempt, *, metric: bool) -> bool:
    kinds = border(old, new).kinds
    return "segment" in kinds or (metric and "series" in kinds)
