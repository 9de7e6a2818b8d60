"""Collects what benchmarks say while they run, and fits lines to medians."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

__all__ = ["Line", "Report", "fit_line"]


@dataclass(frozen=True)
class Line:
    """``seconds = intercept + slope * count``, with what tells how well it fits.

    Attributes
    ----------
    intercept, slope : float
        a and b, s.
    r_squared : float
        Share of the variance that the line explains; below 0 if a constant fits better.
    worst : float
        Residual of the point that lies farthest off, s.
    worst_at : int
        The count of that point.
    points : tuple of int
        The counts that were fitted.
    """

    intercept: float
    slope: float
    r_squared: float
    worst: float
    worst_at: int
    points: tuple[int, ...]

    def text(self, letter: str) -> str:
        """Return the line as it is printed, over a count named by `letter`."""
        return (
            f"a + b*{letter} = {self.intercept:.4f} s + {self.slope:.4f} s * {letter}; R^2 "
            f"{self.r_squared:.4f}, worst residual {self.worst:+.4f} s at {letter}={self.worst_at}"
        )


def fit_line(seconds: Mapping[int, float]) -> Line:
    """Fit seconds against counts by the Theil-Sen estimator, which one slow point cannot tilt.

    Parameters
    ----------
    seconds : mapping of int to float
        Median seconds by count, at least two counts.
    """
    counts, values = np.array(list(seconds), float), np.array(list(seconds.values()))
    slope, intercept = stats.theilslopes(values, counts, method="joint")[:2]
    residuals = values - (intercept + slope * counts)
    spread = float(((values - values.mean()) ** 2).sum())
    worst = int(np.abs(residuals).argmax())
    return Line(
        float(intercept), float(slope),
        1 - float((residuals**2).sum()) / spread if spread else 0.0,
        float(residuals[worst]), int(counts[worst]), tuple(seconds),
    )  # fmt: skip


@dataclass
class Report:
    """What the benchmarks of one session have found.

    Attributes
    ----------
    heading : list of str
        Environment and setting.
    lines : dict of str to str
        What is said about each subject, in the order measured.
    """

    heading: list[str] = field(default_factory=list)
    lines: dict[str, str] = field(default_factory=dict)

    def write(self, terminal: Any) -> None:
        """Write the section; nothing where nothing was measured."""
        if not self.lines:
            return
        terminal.section("samebits: benchmarks, medians")
        for text in self.heading:
            terminal.write_line(text)
        width = max(map(len, self.lines))
        for subject, text in self.lines.items():
            terminal.write_line(f"{subject:{width}}  {text}")
