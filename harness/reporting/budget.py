"""A budget for people: lines, and a plot of seconds and rank resolution against K."""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.evaluation.advice import Advice
from harness.evaluation.budget import Budget, Cost, Noise
from harness.whole import write_bytes

__all__ = ["FORMATS", "budget_lines", "plot_budget"]

FORMATS = (".png", ".svg", ".html")
_SETTINGS = {
    # Ids in an SVG are random without a salt, and it has a date unless told otherwise:
    # the same numbers give the same bytes.
    "svg.hashsalt": "budget", "font.size": 9.0, "axes.grid": True, "grid.alpha": 0.3,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip
_BLUE, _RED, _GREEN = "#0072b2", "#d55e00", "#009e73"


def plot_budget(path: Path, budget: Budget, advice: Advice | None, *, title: str) -> None:
    """Write the plot, as PNG, SVG or an HTML page with the SVG inside.

    Raises
    ------
    InputError
        If the file's name ends otherwise.
    """
    if path.suffix not in FORMATS:
        msg = f"--out {path}: expected a name that ends in {', '.join(FORMATS)}"
        raise InputError(msg)
    image = _figure("png" if path.suffix == ".png" else "svg", budget, advice, title)
    if path.suffix == ".html":
        data = base64.b64encode(image).decode("ascii")
        image = (
            '<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>Budget</title>\n'
            f'<img alt="Seconds and tau against K" src="data:image/svg+xml;base64,{data}">\n'
            "</html>\n"
        ).encode()
    write_bytes(path, image)


def _figure(form: str, budget: Budget, advice: Advice | None, title: str) -> bytes:
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(["default", _SETTINGS]):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        figure.suptitle(title, fontsize=9)
        left, right = figure.subplots(1, 2)
        _draw_cost(left, budget.cost, budget.noise)
        _draw_tau(right, budget.noise)
        for axes in (left, right):
            axes.set_xlabel("K, validation batches per arch")
            axes.set_xlim(0, None)
            if advice is not None and advice.batches is not None:
                axes.axvline(advice.batches, color=_GREEN, linestyle="dotted", label="advised K")
            axes.legend(fontsize=8)
        file = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        figure.savefig(file, format=form, dpi=150, metadata=metadata)
    return file.getvalue()


def _draw_cost(axes: Any, cost: Cost, noise: Sequence[Noise]) -> None:
    most = noise[-1].batches
    for index, recal in enumerate(sorted({point.recal for point in cost.points})):
        shade = (_BLUE, _RED, "#cc79a7", "#56b4e9")[index % 4]
        points = [(p.batches, p.seconds) for p in cost.points if p.recal == recal]
        axes.plot(*zip(*points, strict=True), "o", color=shade, markersize=4, label=f"R = {recal}")
        axes.plot(
            [0, most], [cost.seconds(k, recal) for k in (0, most)], color=shade, linewidth=1.2
        )
    axes.set_ylabel("seconds, whole pool")
    axes.set_ylim(0, None)


def _draw_tau(axes: Any, noise: Sequence[Noise]) -> None:
    known = [n for n in noise if n.tau is not None and n.tau_mean is not None]
    at = [n.batches for n in known]
    axes.plot(at, [n.tau for n in known], "o", color=_RED, markersize=4, label="first K batches")
    axes.plot(at, [n.tau_mean for n in known], color=_BLUE, label="mean over draws of K")
    low = [n.tau_low for n in known]
    axes.plot(at, low, color=_BLUE, linestyle="dashed", linewidth=1, label="5 % quantile")
    axes.set_ylabel("Kendall's tau-b against the whole split")


def budget_lines(budget: Budget, advice: Advice | None) -> Iterator[str]:
    """Return what was measured, and what follows, in lines for people."""
    cost, full = budget.cost, budget.full
    yield (
        f"seconds = {cost.fixed:.4f} + {cost.per_batch:.4f} K + {cost.per_recal:.4f} R, by "
        f"non-negative least squares (a cost is not negative); worst residual {cost.worst:+.4f} s "
        f"of {len(cost.points)} points"
    )
    predicted = cost.seconds(full.batches, full.recal)
    yield (
        f"the whole split, K = {full.batches} and R = {full.recal}, took {full.seconds:.4f} s, "
        f"{predicted:.4f} s by the fit"
    )
    yield (
        "SE: standard error of the pool's EPE; SE diff: of the difference of two archs; tau "
        "against the whole split: of the first K batches, mean and 5 % quantile of draws"
    )
    yield from _noise_lines(budget)
    reasons = {entry.reason for entry in budget.noise if entry.reason}
    yield from (f"tau undefined: {reason}" for reason in sorted(reasons))
    for effect in budget.recal[:-1]:
        yield (
            f"R = {effect.recal} against R = {effect.most}: the pool's mean differs by "
            f"{effect.mean_difference:+.2g} px, the arch that moves most by "
            f"{effect.worst_difference:+.2g} px, tau {_number(effect.tau, 3)}"
        )
    if advice is None:
        yield "no advice was asked for: --tau 0.9 or --time-limit SECONDS"
    elif advice.batches is not None:
        yield (
            f"advice: eval.eval_batches_per_arch={advice.batches} "
            f"eval.bn_recal_batches={advice.recal}, about {advice.seconds:.3g} s"
        )
        yield from (f"  {reason}" for reason in advice.reasons)


def _noise_lines(budget: Budget) -> Iterator[str]:
    """Yield a table, 80 columns wide, with a row for each K."""
    yield "  K  samples  time (s)  EPE (px)  SE (px)  SE diff (px)  tau first   mean    5 %"
    for entry in budget.noise:
        seconds = budget.cost.seconds(entry.batches, budget.full.recal)
        yield (
            f"{entry.batches:3d}  {entry.samples:7d}  {seconds:8.3f}  {entry.mean_epe:8.4f}  "
            f"{_number(entry.standard_error):>7}  {_number(entry.pair_error):>12}  "
            f"{_number(entry.tau, 3):>9}  {_number(entry.tau_mean, 3):>5}  "
            f"{_number(entry.tau_low, 3):>5}"
        )


def _number(value: float | None, digits: int = 5) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
