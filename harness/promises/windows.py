"""Crop windows and sample orders, for frames and splits of any size."""

import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

from harness.promises.drawn_cases import case_count, for_all, parts, require, require_refusal
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.promises.shown import Masks, Row, Values, Windows, orders_beside, values_beside

__all__ = [
    "CENTRE_WINDOW", "ORDERS", "RANDOM_WINDOW", "centre_windows", "data_parts", "orders",
    "random_windows",
]  # fmt: skip

_PLACES = ((3, 2), (2, 3), (0, 3))
"""Rows and columns that a frame has more than the crop: 12, 12 and 4 places."""

_CROP = (4, 6)
_DRAWS = 400
"""So many that a place out of 12 is missed once in 10^14 runs."""


@needs(says=("parts",))
def data_parts(bench: Any) -> Any:
    """Return the parts that serve data."""
    return parts(bench).data


def _frames_and_crops() -> st.SearchStrategy[tuple[tuple[int, int], tuple[int, int]]]:
    sides = st.tuples(st.integers(1, 40), st.integers(1, 40))
    return sides.flatmap(
        lambda frame: st.tuples(
            st.just(frame), st.tuples(st.integers(1, frame[0]), st.integers(1, frame[1]))
        )
    )


def centre_windows(evidence: Any) -> Outcome:
    """Require margins that differ by at most a pixel, the larger one at the bottom and right."""
    center = evidence.center

    def window(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
        frame, crop = sizes
        found, where = center(frame, crop), f"crop {crop} of frame {frame}"
        place = (found.top, found.left, found.height, found.width)
        centre = ((frame[0] - crop[0]) // 2, (frame[1] - crop[1]) // 2, *crop)
        shown = partial(Windows, where, frame, centre, place)
        require(f"{where}, size", crop, (found.height, found.width), shown=shown)
        margins = (frame[0] - crop[0] - 2 * found.top, frame[1] - crop[1] - 2 * found.left)
        require(f"{where}, bottom and right margins less top and left", "0 or 1 each", margins,
                holds=set(margins) <= {0, 1}, shown=shown)  # fmt: skip

    violations = for_all(window, _frames_and_crops())
    if not violations:
        violations = for_all(_misfits(center), st.just(None))
    return outcome(violations, case_count(), f"{case_count()} frame and crop sizes")


def _misfits(center: Any) -> Any:
    def misfit(_: None) -> None:
        for crop in ((5, 4), (4, 6), (0, 5), (4, 0), (-1, 2)):
            where = f"crop {crop} of a frame of (4, 5)"
            require_refusal(where, "does not fit", center, (4, 5), crop)
        window = center((4, 5), (1, 1))
        try:
            window.top = 0
        except AttributeError:
            return
        require("a window", "a value that nobody can move", "one that was moved")

    return misfit


CENTRE_WINDOW = Promise(
    id="centre-window",
    sentence="centre crops for all parities",
    evidence=data_parts,
    check=centre_windows,
    hint="The crop is off by a pixel where a margin is odd, or leaves the frame.",
    explained_by=("eval-crop-centred",),
)


def random_windows(evidence: Any) -> Outcome:
    """Require crops inside the frame, at all of its places, that depend on seed and epoch."""
    violations: list[Violation] = []
    for rows, columns in _PLACES:
        violations += for_all(_all_places(evidence.random, rows, columns), st.just(None))
    return outcome(violations, _DRAWS, f"{_DRAWS} draws of 12 places")


def _all_places(random: Any, rows: int, columns: int) -> Any:
    frame = (_CROP[0] + rows, _CROP[1] + columns)

    def windows(seed: int, epoch: int) -> list[Any]:
        return [random(frame, _CROP, seed=seed, epoch=epoch, index=i) for i in range(_DRAWS)]

    def places(_: None) -> None:
        where, draws = f"random crops {_CROP} of frame {frame}", windows(3, 1)
        wanted = set(itertools.product(range(rows + 1), range(columns + 1)))
        found = {(window.top, window.left) for window in draws}
        shown = partial(_reached, f"{where}: corners that are drawn", (rows, columns), found)
        require(f"{where}, places", sorted(wanted), sorted(found), shown=shown)
        require(f"{where}, sizes", {_CROP}, {(window.height, window.width) for window in draws})
        require(f"{where}, drawn again", "the same", "others", holds=draws == windows(3, 1))
        for what, other in (("seed", windows(4, 1)), ("epoch", windows(3, 2))):
            require(f"{where}, with another {what}", "others", "the same", holds=draws != other)

    return places


_BEYOND = 1
"""Rows and columns that are shown beyond the last place of a crop: nothing may be drawn there."""


def _reached(title: str, most: tuple[int, int], places: Collection[tuple[int, int]]) -> Masks:
    """Return at which places crops have their corners: at each up to the last is expected."""
    size = (most[0] + 1 + _BEYOND, most[1] + 1 + _BEYOND)
    expected, found = np.zeros(size, bool), np.zeros(size, bool)
    expected[: most[0] + 1, : most[1] + 1] = True
    for top, left in places:
        if 0 <= top < size[0] and 0 <= left < size[1]:
            found[top, left] = True
    return Masks(title, expected, found, "drawn")


RANDOM_WINDOW = Promise(
    id="random-window",
    sentence="random crops reach every place",
    evidence=data_parts,
    check=random_windows,
    hint="Rows or columns at the border are never trained on, or a crop ignores seed or epoch.",
    explained_by=("train-draws-declared:draws", "windows-independent"),
)


def orders(evidence: Any) -> Outcome:
    """Require a permutation for each full pass, new each epoch, and evaluation from the first."""

    def order(count: int, batch: int, seed: int) -> None:
        where = f"{count} samples, seed {seed}"
        epochs = [
            evidence.train_order(count, seed=seed, epoch=epoch, batch_size=batch, steps=None)
            for epoch in (1, 2)
        ]
        for epoch, found in enumerate(epochs, start=1):
            shown = partial(_often, f"{where}: how often epoch {epoch} serves each", count, found)
            require(f"{where}, epoch {epoch}, sorted", list(range(count)), sorted(found),
                    shown=shown)  # fmt: skip
        if count >= 12:  # two orders of fewer samples may be equal by chance
            differ = epochs[0] != epochs[1]
            require(f"{where}, order of epoch 2", "another", "the same", holds=differ)
        drawn = evidence.train_order(count, seed=seed, epoch=1, batch_size=batch, steps=3)
        require(f"{where}, draws of 3 batches of {batch}", 3 * batch, len(drawn))
        require(f"{where}, drawn", "samples", drawn, holds=set(drawn) <= set(range(count)))
        evaluated = evidence.eval_order(count)
        beside = partial(orders_beside, f"{where}, evaluation", range(count), evaluated)
        require(f"{where}, evaluation", list(range(count)), evaluated, shown=beside)

    violations = for_all(order, st.integers(1, 60), st.integers(1, 9), st.integers(0, 2**31))
    return outcome(violations, case_count(), f"{case_count()} counts and batch sizes")


def _often(title: str, count: int, found: Sequence[int]) -> Values:
    """Return how often each sample comes in an order: once is expected."""
    times = Counter(found)
    rows = [Row(f"sample {i}", 1, times[i], times[i] != 1) for i in range(count)]
    return values_beside(title, "times", rows)


ORDERS = Promise(
    id="orders",
    sentence="orders for any number of samples",
    evidence=data_parts,
    check=orders,
    hint="A pass leaves samples out or serves some twice, or every epoch has one order.",
    explained_by=(
        "train-draws-declared:draws",
        "train-draws-declared:plan",
        "orders-independent",
        "eval-order-fixed",
    ),
)
