"""Drawing with matplotlib, as SVG: same numbers, same bytes.

matplotlib is imported where it is needed only; its global state, and the user's settings of it,
neither change nor matter.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from harness.reporting.borders import Border
from harness.reporting.curves import Curve, Drawing

__all__ = ["RUN_COLOURS", "colour", "draw"]

RUN_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00", "#7f3fbf", "#444444",
)  # fmt: skip
"""One for each run; told apart by colour-blind people, too."""

_LINES: dict[str, dict[str, Any]] = {
    "main": {"linestyle": "solid", "linewidth": 1.8},
    "second": {"linestyle": "dashed", "linewidth": 1.3},
    "third": {"linestyle": "dotted", "linewidth": 1.5},
    "level": {"linestyle": "dashdot", "linewidth": 1.3},
}
_BORDERS = {"segment": "solid", "series": "dashed", "environment": "dotted"}
_SETTINGS = {
    # Ids in an SVG are random without a salt, and the same numbers must give the same bytes.
    "svg.hashsalt": "report", "svg.fonttype": "none", "font.size": 9.0, "axes.grid": True,
    "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False,
    "axes.formatter.useoffset": False,
}  # fmt: skip
_SIZE = (6.4, 3.1)
_MOST_MARKERS, _MOST_LETTERS = 40, 30
_MOST_POINTS = 4_000
"""Points of one curve, some six of each column of pixels."""
_MARGIN = 0.04
_FEW_DECADES = 10.0
"""Ratio of a logarithmic axis' ends below which powers of ten alone would be too few labels."""


def colour(run: int) -> str:
    """Return a run's colour."""
    return RUN_COLOURS[run % len(RUN_COLOURS)]


def draw(drawing: Drawing) -> bytes:
    """Return a panel as an SVG file.

    Raises
    ------
    ValueError
        If there is no curve to draw.
    """
    if not drawing.curves:
        msg = f"nothing to draw for {drawing.panel.title!r}"
        raise ValueError(msg)
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with style.context(["default", _SETTINGS]), warnings.catch_warnings():
        # The browser has glyphs that matplotlib's own font lacks, and sets the text itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        _draw_panel(figure.add_subplot(), drawing)
        file = io.BytesIO()
        # No date, for the same reason.
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _draw_panel(axes: Any, drawing: Drawing) -> None:
    from matplotlib.ticker import MaxNLocator, NullFormatter

    panel, (first, last) = drawing.panel, drawing.epochs
    axes.set_xlim(first - 0.6, last + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(panel.unit)
    if drawing.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    for curve in drawing.curves:
        _draw_curve(axes, curve)
    if panel.limits is not None:
        low, high = panel.limits
        room = _MARGIN * (high - low)
        axes.set_ylim(low - room, high + room)
    if drawing.log:
        low, high = axes.get_ylim()
        axes.yaxis.set_minor_formatter("{x:g}" if high / low < _FEW_DECADES else NullFormatter())
    _draw_borders(axes, drawing)
    _legend(axes, drawing)


def _draw_curve(axes: Any, curve: Curve) -> None:
    x, y = zip(*_extremes(curve.points), strict=True)
    shade = colour(curve.run)
    if curve.role == "band":
        below = _thinned(list(zip(curve.points, curve.upper, strict=True)))
        x, y = zip(*(low for low, _ in below), strict=True)
        top = [high for _, (_, high) in below]
        if len(x) > 1:
            axes.fill_between(x, y, top, color=shade, alpha=0.15, linewidth=0)
        else:  # an area has no width there
            axes.vlines(x, y, top, color=shade, alpha=0.3, linewidth=4)
        return
    level = curve.role == "level"
    marked = len(x) == 1 or (not level and len(x) <= _MOST_MARKERS)
    axes.plot(
        x, y, color=shade, marker="o" if marked else None, markersize=3,
        alpha=0.75 if level else 1.0, **_LINES[curve.role],
    )  # fmt: skip


def _extremes(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points of a curve; of a long one the lowest and the highest of each stretch.

    A page of a long run would grow with it, and show no more.
    """
    if len(points) <= _MOST_POINTS:
        return list(points)
    kept = {points[0], points[-1]}
    for stretch in _stretches(len(points)):
        values = sorted(points[stretch], key=itemgetter(1))
        kept |= {values[0], values[-1]}
    return sorted(kept)


def _thinned(points: list[Any]) -> list[Any]:
    if len(points) <= _MOST_POINTS:
        return points
    return [points[stretch][0] for stretch in _stretches(len(points))] + points[-1:]


def _stretches(count: int) -> Iterator[slice]:
    """Yield as many slices of a long row as leave so many points, two of each."""
    width = -(-2 * count // _MOST_POINTS)
    return (slice(start, start + width) for start in range(0, count, width))


def _draw_borders(axes: Any, drawing: Drawing) -> None:
    runs = {curve.run for curve in drawing.curves} | {run for run, _ in drawing.borders}
    for run, border in drawing.borders:
        shade = "#333333" if len(runs) == 1 else colour(run)
        axes.axvline(border.x, color=shade, linewidth=1.3, linestyle=_BORDERS[border.kinds[0]])
        axes.annotate(
            _label(border), (border.x, 0.98), xycoords=axes.get_xaxis_transform(),
            xytext=(-4, 0), textcoords="offset points", rotation=90, ha="right", va="top",
            # parse_math: a segment's name may hold a dollar sign.
            fontsize=7, color=shade, parse_math=False, annotation_clip=False,
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
        )  # fmt: skip


def _label(border: Border) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in border.label)
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"


def _legend(axes: Any, drawing: Drawing) -> None:
    """Say what each line style is; what each colour is, the page says."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    roles = {curve.label: curve.role for curve in drawing.curves}
    if len(roles) < 2:
        return
    grey = "#333333"
    handles = [
        Patch(color=grey, alpha=0.2, linewidth=0)
        if role == "band"
        else Line2D([], [], color=grey, **_LINES[role])
        for role in roles.values()
    ]
    axes.figure.legend(
        handles, list(roles), loc="outside upper right", ncols=len(roles), frameon=False, fontsize=8
    )
