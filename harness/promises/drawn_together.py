"""What is drawn is independent, covers everything, and is spread evenly: of thousands of draws.

Fairness per block, or draws that differ, hold although blocks share one permutation, neighbours
share a window, or a shuffle reaches a few places. Each promise breaks by chance in less than one
of ten million gates (:data:`harness.promises.chance.FALSE_ALARM`).
"""

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.promises.asked_draws import (
    ROOM,
    SMALL_ROOM,
    Asked,
    BySeed,
    Cycles,
    Kernels,
    Orders,
    Windows,
    of_kind,
)
from harness.promises.bench import Bench
from harness.promises.chance import Finding, agreement, spread, too_unlikely
from harness.promises.fixed_draws import at_one_place, at_the_ends
from harness.promises.joint_tables import (
    next_epochs,
    next_in_epoch,
    next_seeds,
    of_repeats,
    of_spread,
    of_table,
    order_agreements,
    row_spreads,
)
from harness.promises.kernel_statistics import kernel_findings
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.wording import counted

__all__ = [
    "CYCLES_INDEPENDENT", "KERNELS_INDEPENDENT", "ORDERS_INDEPENDENT", "WINDOWS_INDEPENDENT",
    "cycles_are_independent", "drawn_cycles", "drawn_kernels", "drawn_orders", "drawn_windows",
    "kernels_are_independent", "orders_are_independent", "windows_are_independent",
]  # fmt: skip

_PARTS, _FEW_PARTS = 16, 5
"""Parts of a long order, and of a short one or of a side: their places are equally many."""

_LAGS = (1, 2, 3, 4)
"""Windows so many draws apart are looked at beside one another."""


@needs("draws")
def drawn_orders(bench: Bench) -> Orders:
    """Return the orders of samples that were asked for."""
    return of_kind(bench, "order")  # type: ignore[no-any-return]


def _named(key: tuple[int, int]) -> str:
    return f"seed {key[0]}, epoch {key[1]}"


def _pass(asked: Asked, *, full: bool) -> Iterator[Violation]:
    """Yield what is no order of so many samples; a last batch may be filled up."""
    every = np.arange(asked.samples)
    for key, order in asked.found.items():
        where = f"order of {asked.samples} samples, {_named(key)}"
        drawn = order[: asked.samples]
        if len(order) < asked.samples or order.min() < 0 or order.max() >= asked.samples:
            lowest, highest = (order.min(), order.max()) if len(order) else (0, 0)
            what = f"{counted(len(order), 'draw')} of numbers {lowest} to {highest}"
            most = f"{asked.samples} draws of numbers 0 to {asked.samples - 1}"
            yield Violation(where, most, what, "plan")
        elif full and not np.array_equal(np.sort(drawn), every):
            different = counted(len(np.unique(drawn)), "sample")
            yield Violation(where, "each sample once", f"{different} drawn", "plan")


def _seeds_alike(what: str, seeds: BySeed) -> Iterator[Violation]:
    """Yield a seed that draws as another does, and one that draws otherwise when asked again."""
    for seed, again in seeds.again.items():
        if not np.array_equal(again, seeds.found[seed]):
            yield Violation(f"{what} of seed {seed}, asked again", "the same", "others", "draws")
    first: dict[bytes, int] = {}
    for seed, drawn in seeds.found.items():
        other = first.setdefault(drawn.tobytes(), seed)
        if other != seed:
            where = f"{what} of seed {seed}"
            yield Violation(where, f"others than of seed {other}", "the same", "draws")


def _long_order(key: tuple[int, int], order: NDArray[np.int64], count: int) -> Iterator[Finding]:
    """Yield how far a shuffle reaches: which samples come early, and which come together."""
    rows, where = np.arange(count) * _PARTS // count, f"order of {count} samples, {_named(key)}"
    for what, cells in (("by number", order * _PARTS // count), ("by last digit", order % _PARTS)):
        yield from row_spreads(f"{where}, samples {what}", rows, cells, (_PARTS,) * 2, "part")
    pairs = order[: count // 2 * 2].reshape(-1, 2)
    steps = np.bincount((pairs[:, 1] - pairs[:, 0]) % count)
    most = int(steps.argmax())
    yield Finding(
        f"{where}, neighbours that are {most} apart", "a few", f"{steps[most]} of {count // 2}",
        agreement(int(steps[most]), count),
    )  # fmt: skip


def _two_orders(
    a: tuple[int, int], b: tuple[int, int], asked: Mapping[tuple[int, int], NDArray[np.int64]],
    count: int,
) -> Iterator[Finding]:  # fmt: skip
    where = f"order of {_named(a)} beside {_named(b)}"
    first, second = asked[a][:count], asked[b][:count]
    yield from order_agreements(where, first, second)
    parts = first * _FEW_PARTS // count, second * _FEW_PARTS // count
    yield from row_spreads(f"{where}, place by place", *parts, (_FEW_PARTS,) * 2, "part")


def _never(few: Asked) -> Finding:
    """Return which of few samples all draws leave out."""
    drawn = np.concatenate([*few.found.values()])
    never = sorted(set(range(few.samples)) - set(drawn.tolist()))
    chance = math.log(few.samples) + len(drawn) * math.log1p(-1 / few.samples)
    where = f"orders of {few.samples} samples, {counted(len(drawn), 'draw')}"
    return Finding(where, "each sample", f"never {never}", chance if never else 0.0)


def _as_often(few: Asked) -> Finding:
    """Return how unevenly draws with replacement fall on few samples."""
    drawn = np.concatenate([order[: few.samples] for order in few.found.values()])
    counts = np.bincount(drawn, minlength=few.samples)
    where = f"orders of {few.samples} samples, {counted(len(drawn), 'draw')}, each sample's share"
    least, most = int(counts.argmin()), int(counts.argmax())
    return Finding(
        where, f"some {len(drawn) / few.samples:.0f} draws",
        f"{counts[least]} of sample {least}, {counts[most]} of sample {most}", spread(counts),
    )  # fmt: skip


def orders_are_independent(evidence: Orders) -> Outcome:
    """Require orders that reach every place, and have nothing of one another."""
    uneven = evidence.uneven
    every = (evidence.middle, evidence.large, evidence.few, evidence.later, uneven)
    wrong = [v for asked in every for v in _pass(asked, full=evidence.full_pass)]
    middle, large, few = evidence.middle, evidence.large, evidence.few
    drawn = len(large.found) * large.samples + len(middle.found) * middle.samples
    figures = (
        f"{counted(len(middle.found), 'seed and epoch', 'seeds and epochs')}, "
        f"{counted(drawn, 'draw')}: evenly spread, no two orders alike"
    )
    if wrong or not drawn:
        return outcome(wrong[:6], drawn, figures, without="no order was drawn")
    found = [f for k, o in large.found.items() for f in _long_order(
        k, o[: large.samples], large.samples)]  # fmt: skip
    for asked in (middle, evidence.later):
        for a, b in itertools.combinations(asked.found, 2):
            found += _two_orders(a, b, asked.found, asked.samples)
    count = {"count": middle.samples, "places": middle.samples}
    found += [*at_one_place("sample", middle.found, **count),
              *at_the_ends(uneven.found, samples=uneven.samples)]  # fmt: skip
    # On its own: beside so many others 240 draws of 12 samples would be too few to tell.
    alone = [_never(few)] if evidence.full_pass else [_never(few), _as_often(few)]
    wrong = [*_seeds_alike("order of samples", evidence.seeds)]
    return outcome([*wrong, *too_unlikely(alone), *too_unlikely(found)][:6], drawn, figures)


ORDERS_INDEPENDENT = Promise(
    id="orders-independent",
    sentence="a shuffle reaches every place; no order repeats another epoch's or seed's",
    evidence=drawn_orders,
    check=orders_are_independent,
    hint="A shuffle buffer smaller than the split, a seed that is added to the epoch, or samples "
    "that stay together: batches are less mixed than they seem.",
    explained_by=("train-draws-declared:draws", "train-draws-declared:plan"),
    varied=True,
)


@needs("draws")
def drawn_windows(bench: Bench) -> Windows:
    """Return the crop windows that were asked for."""
    return of_kind(bench, "windows")  # type: ignore[no-any-return]


def _inside(asked: Asked, room: tuple[int, int]) -> Iterator[Violation]:
    for key, windows in asked.found.items():
        if windows.shape[1:] != (2,) or len(windows) < asked.samples:
            most = f"({asked.samples}, 2)"
            yield Violation(f"windows of {_named(key)}, shape", most, str(windows.shape), "plan")
        elif windows.min() < 0 or (windows >= room).any():
            corner = str(windows.max(axis=0).tolist())
            most = f"top and left from 0 to {[side - 1 for side in room]}"
            yield Violation(f"windows of {_named(key)}", most, f"up to {corner}", "plan")


def _window_pairs(cells: Mapping[tuple[int, int], NDArray[np.int64]]) -> Iterator[Finding]:
    """Yield the windows of draws beside those of later draws, epochs and seeds."""
    beside = [pair for lag in _LAGS for pair in next_in_epoch(cells, lag)]
    for words, first, second in (*beside, *next_epochs(cells), *next_seeds(cells)):
        for i, j in itertools.product(range(2), repeat=2):
            where = f"{('top', 'left')[i]} of a window beside {('top', 'left')[j]} {words}"
            yield of_table(where, first[:, i], second[:, j], (_FEW_PARTS,) * 2)


def _windows_by_sample(
    cells: Mapping[tuple[int, int], NDArray[np.int64]], orders: Asked
) -> Iterator[Finding]:
    count = orders.samples
    rows = np.concatenate([orders.found[k][:count] * _FEW_PARTS // count for k in cells])
    both = np.concatenate([found[:count] for found in cells.values()])
    for axis, name in enumerate(("top", "left")):
        where = f"{name} of the windows of samples by number"
        yield from row_spreads(where, rows, both[:, axis], (_FEW_PARTS,) * 2, "part")


def windows_are_independent(evidence: Windows) -> Outcome:
    """Require windows at every place alike, whatever others of this or another epoch are."""
    wide, narrow = evidence.wide, evidence.narrow
    later = evidence.later
    wrong = [*_inside(wide, ROOM), *_inside(narrow, SMALL_ROOM), *_inside(later, ROOM)]
    drawn = sum(len(found) for asked in (wide, narrow, later) for found in asked.found.values())
    figures = f"{counted(drawn, 'window')}: evenly spread, independent of one another"
    if wrong or not drawn:
        return outcome(wrong[:6], drawn, figures, without="no window was drawn")
    every, few = (np.concatenate([*asked.found.values()]) for asked in (wide, narrow))
    cells = {key: found * _FEW_PARTS // np.array(ROOM) for key, found in wide.found.items()}
    coarse = np.concatenate([*cells.values()])
    found = [
        of_repeats("windows", every, math.prod(ROOM)),
        of_repeats(
            "windows of epochs far apart",
            np.concatenate([every, *later.found.values()]),
            math.prod(ROOM),
        ),
        of_table(f"places of {math.prod(SMALL_ROOM)}", few[:, 0], few[:, 1], SMALL_ROOM),
        of_table("top beside left of a window", coarse[:, 0], coarse[:, 1], (_FEW_PARTS,) * 2),
        *_window_pairs(cells),
    ]
    for axis, name in enumerate(("top", "left")):
        found.append(of_spread(f"{name}, last digit", every[:, axis] % 4, 4))
    if evidence.orders is not None:
        found += _windows_by_sample(cells, evidence.orders)
    corners = {key: windows @ np.array([ROOM[1], 1]) for key, windows in wide.found.items()}
    found += at_one_place("window", corners, count=wide.samples, places=math.prod(ROOM))
    wrong = [*_seeds_alike("windows", evidence.seeds)]
    return outcome([*wrong, *too_unlikely(found)][:6], drawn, figures)


WINDOWS_INDEPENDENT = Promise(
    id="windows-independent",
    sentence="crops lie everywhere alike, independent of neighbours, epochs and seeds",
    evidence=drawn_windows,
    check=windows_are_independent,
    hint="Samples of a batch, workers, epochs or seeds share windows, or some places are cropped "
    "more than others: there is less augmentation than it seems.",
    explained_by=("train-draws-declared:draws",),
)


@needs("draws", says=("arch codes",))
def drawn_cycles(bench: Bench) -> Cycles:
    """Return the archs of the steps that were asked for."""
    return of_kind(bench, "archs")  # type: ignore[no-any-return]


def _permutation_numbers(archs: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return the number of each block's permutation, (steps, blocks), and how many there are.

    Of more than three options the first arch's alone: a table of all permutations would be sparse.
    """
    options = archs.shape[1]
    if options > 3:
        return archs[:, 0], options
    orders = list(itertools.permutations(range(options)))
    powers = options ** np.arange(options)
    numbers = np.zeros(options**options, np.int64)
    for number, order in enumerate(orders):
        numbers[int(np.dot(order, powers))] = number
    return numbers[np.tensordot(powers, archs, (0, 1))], len(orders)


def _require_fair(evidence: Cycles) -> NDArray[np.int64]:
    """Return all archs, (steps, archs, blocks), of which each step has every option once."""
    every = np.concatenate([*evidence.asked.found.values()])
    options = np.arange(every.shape[1])[None, :, None]
    if not (np.sort(every, axis=1) == options).all():
        msg = "the steps drawn do not train each option of each block once (fair-archs)"
        raise NotApplicableError(msg)
    return every


def cycles_are_independent(evidence: Cycles) -> Outcome:
    """Require fair cycles whose blocks, steps, epochs and seeds are drawn independently."""
    if not sum(map(len, evidence.asked.found.values())):
        return outcome([], 0, "", without="no fair cycle was drawn")
    archs = _require_fair(evidence)
    steps, options, blocks = archs.shape
    later = np.concatenate([*evidence.later.found.values()])
    numbers, orders = _permutation_numbers(archs)
    by_key = {k: _permutation_numbers(f)[0] for k, f in evidence.asked.found.items()}
    found = [
        of_repeats(
            "fair cycles", archs.reshape(steps, -1), float(math.factorial(options)) ** blocks
        ),
        of_repeats(
            "fair cycles of epochs, or steps, far apart",
            later.reshape(len(later), -1),
            float(math.factorial(options)) ** blocks,
        ),
        of_repeats("first archs of fair cycles", archs[:, 0], float(options) ** blocks),
        *(of_spread(f"orders of block {i}", numbers[:, i], orders) for i in range(blocks)),
    ]
    for i, j in itertools.combinations(range(blocks), 2):
        where = f"orders of blocks {i} and {j} of a step"
        found.append(of_table(where, numbers[:, i], numbers[:, j], (orders, orders)))
    beside = (*next_in_epoch(by_key, 1), *next_epochs(by_key), *next_seeds(by_key))
    for words, first, second in beside:
        for i, j in itertools.product(range(blocks), repeat=2):
            where = f"orders of block {i} beside block {j} {words}"
            found.append(of_table(where, first[:, i], second[:, j], (orders, orders)))
    different = len(np.unique(archs.reshape(-1, blocks), axis=0))
    figures = f"{counted(steps, 'fair cycle')}, {different} different archs, blocks independent"
    # Of one option for each block there is one arch alone.
    wrong = [*_seeds_alike("fair cycles", evidence.seeds)] if options > 1 else []
    return outcome([*wrong, *too_unlikely(found)][:6], steps, figures)


CYCLES_INDEPENDENT = Promise(
    id="cycles-independent",
    sentence="fair cycles mix blocks, steps, epochs and seeds independently",
    evidence=drawn_cycles,
    check=cycles_are_independent,
    hint="Blocks share permutations: each option is trained equally often, and few archs ever are.",
    explained_by=("fair-archs", "seeds-matter"),
)


@needs("draws")
def drawn_kernels(bench: Bench) -> Kernels:
    """Return the kernels before training of two seeds."""
    return of_kind(bench, "kernels")  # type: ignore[no-any-return]


def kernels_are_independent(evidence: Kernels) -> Outcome:
    """Require kernels that do not start alike, and from the scale that is named."""
    wrong, found, drawn = kernel_findings(evidence)
    seeds = counted(len(evidence.by_seed), "seed")
    scale = f", {evidence.initializer}" if evidence.initializer else ""
    figures = f"{counted(drawn, 'kernel')} of {seeds}, no two alike{scale}"
    without = "no kernel was drawn, or each is the same for every seed"
    return outcome([*wrong, *too_unlikely(found)][:6], drawn, figures, without=without)


KERNELS_INDEPENDENT = Promise(
    id="kernels-independent",
    sentence="kernels start independent of one another and of other seeds', at their scale",
    evidence=drawn_kernels,
    check=kernels_are_independent,
    hint="Kernels share one stream: blocks and options that should differ start alike.",
)
