"""Evidence about thousands of draws of epochs: 4 seeds, 5 epochs, 500 samples, steps of 5."""

from dataclasses import replace
from functools import partial

import numpy as np

from harness.promises import drawn_together
from harness.promises.asked_draws import (
    ROOM,
    SMALL_ROOM,
    Asked,
    BySeed,
    Cycles,
    Orders,
    Windows,
)

RNG = np.random.default_rng(11)
GRID = [(seed, epoch) for seed in (7, 8, 9, 17) for epoch in (1, 2, 3, 11, 101)]
FEW = [(seed, epoch) for seed in (7, 8) for epoch in (1, 2)]
LATER = [(7, epoch) for epoch in (17, 33, 65, 129, 257)]


def asked(samples, keys, draw):
    return Asked(samples, {key: draw(samples) for key in keys})


def orders(draw, *, full=True):
    middle, large, few = asked(500, GRID, draw), asked(30_000, FEW, draw), asked(12, GRID, draw)
    return Orders(full, middle, large, few, asked(500, [(7, 1), *LATER], draw))


def uneven(draw):
    """Return orders of a split that batches do not fill; by a generator that others leave alone."""
    return asked(199, GRID, partial(draw, np.random.default_rng(12)))


def passes(draws, count):
    return draws.permutation(count)


def with_end(draws, count, end):
    """Leave the last `end` samples out of the shuffle, or, below 0, the first ones."""
    rest = draws.permutation(count - abs(end))
    kept = draws.permutation(abs(end))
    return np.concatenate([kept, rest + abs(end)] if end < 0 else [rest, kept + count - end])


def repeated(count):
    return RNG.integers(count, size=-(-count // 5) * 5)


def buffered(count, size):
    """Draw from a buffer of the next `size` samples, as tf.data does."""
    buffer, found = list(range(size)), []
    for place in range(size, count + size):
        pick = int(RNG.integers(len(buffer)))
        found.append(buffer[pick])
        buffer[pick] = place
        if place >= count:
            buffer.pop(pick)
    return np.array(found)


def whole_chunks(count):
    starts = 6 * RNG.permutation(-(-count // 6))
    return np.concatenate([np.arange(s, min(s + 6, count)) for s in starts])


PASSES = replace(orders(RNG.permutation), uneven=uneven(passes))
REPLACED = orders(repeated, full=False)
FILLED = orders(lambda n: np.concatenate([RNG.permutation(n), np.arange(3)]))


def with_order(key, order):
    middle = replace(PASSES.middle, found={**PASSES.middle.found, key: order})
    return replace(PASSES, middle=middle)


def with_later(evidence, key, found):
    later = replace(evidence.later, found={**evidence.later.found, key: found})
    return replace(evidence, later=later)


ONE = PASSES.middle.found[7, 1]
BUFFER = {key: buffered(30_000, 10_000) for key in FEW}
SEEDS = BySeed({seed: RNG.permutation(60) for seed in (7, 263, 0, 42)})
SEEDS = replace(SEEDS, again={0: SEEDS.found[0]})


def alike(seed, other):
    """Return draws by seed of which two are the same."""
    return replace(SEEDS, found=SEEDS.found | {seed: SEEDS.found[other]})


ORDERS = {
    "0 taken for no seed": (
        replace(PASSES, seeds=alike(42, 0)),
        "order of samples of seed 42: expected others than of seed 0, found the same",
    ),
    "0 drawn anew each time": (
        replace(PASSES, seeds=replace(SEEDS, again={0: SEEDS.found[7]})),
        "order of samples of seed 0, asked again: expected the same, found others",
    ),
    "a buffer of a third of the split": (
        replace(PASSES, large=replace(PASSES.large, found=BUFFER)),
        "order of 30000 samples, .*, samples by number, part 1 of 16: expected some 117 draws in "
        r"each of 16 cells, found 0 to \d+, \d+ never",
    ),
    "chunks that stay together": (
        replace(PASSES, large=asked(30_000, FEW, whole_chunks)),
        "neighbours that are 1 apart: expected a few, found 1[0-9]{4} of 15000",
    ),
    "no shuffle": (
        replace(PASSES, large=asked(30_000, FEW, np.arange)),
        "neighbours that are 1 apart: expected a few, found 15000 of 15000",
    ),
    "even samples alone": (
        replace(REPLACED, large=asked(30_000, FEW, lambda n: 2 * RNG.integers(n // 2, size=n))),
        r"samples by last digit, part \d+ of 16: expected some 117 .*, 8 never",
    ),
    "the last sample never": (
        replace(REPLACED, few=asked(12, GRID, lambda n: RNG.integers(n - 1, size=15))),
        r"orders of 12 samples, 300 draws: expected each sample, found never \[11\]",
    ),
    "the next seed a epoch later": (
        with_order((8, 1), PASSES.middle.found[7, 2]),
        "order of seed 7, epoch 2 beside seed 8, epoch 1, samples at one place in both: expected "
        "one or two, found 500",
    ),
    "an epoch far behind that is the first one": (
        with_later(PASSES, (7, 33), PASSES.later.found[7, 1]),
        "order of seed 7, epoch 1 beside seed 7, epoch 33, samples at one place in both: expected "
        "one or two, found 500",
    ),
    "an epoch that starts later": (
        with_order((7, 2), np.roll(ONE, 3)),
        r"seed 7, epoch 1 beside seed 7, epoch 2, neighbours in both: expected one or two, found 2",
    ),
    "an epoch backwards": (
        with_order((7, 2), ONE[::-1]),
        "epoch 1 beside seed 7, epoch 2, neighbours in reverse: expected one or two, found 250",
    ),
    "an epoch of the next samples": (
        with_order((7, 2), (ONE + 7) % 500),
        "seed 7, epoch 2, place by place, part 1 of 5: expected some 20 draws in each of 5 cells",
    ),
    "a sample that stays at its place": (
        replace(
            PASSES,
            middle=replace(
                PASSES.middle,
                found={
                    key: np.insert(order[order != 9], 250, 9)
                    for key, order in PASSES.middle.found.items()
                },
            ),
        ),
        "sample number 251 of an epoch, of 20 seeds and epochs: expected some 20 different, found ",
    ),
    "a tail that is shuffled by itself": (
        replace(PASSES, uneven=uneven(partial(with_end, end=4))),
        "last 4 samples of 20 orders of 199: expected some 66 different samples, found 4",
    ),
    "a first sample that stays the first": (
        replace(PASSES, uneven=uneven(partial(with_end, end=-1))),
        "first 1 sample of 20 orders of 199: expected some 19 different samples, found 1",
    ),
    "a sample twice in a pass": (
        with_order((7, 3), np.where(ONE == 4, 5, ONE)),
        "order of 500 samples, seed 7, epoch 3: expected each sample once, found 499 samples drawn",
    ),
    "an order that is too short": (
        with_order((7, 3), ONE[:495]),
        "order of 500 samples, seed 7, epoch 3: expected 500 draws of numbers 0 to 499, found 495",
    ),
    "numbers from 1": (
        with_order((7, 3), ONE + 1),
        "expected 500 draws of numbers 0 to 499, found 500 draws of numbers 1 to 500",
    ),
}


def places(room):
    return lambda samples: RNG.integers(room, size=(samples, 2))


WINDOWS = Windows(
    asked(500, GRID, places(ROOM)),
    asked(500, FEW, places(SMALL_ROOM)),
    PASSES.middle,
    asked(50, LATER, places(ROOM)),
)


def each(change, part="wide"):
    found = {k: change(w) for k, w in getattr(WINDOWS, part).found.items()}
    return replace(WINDOWS, **{part: Asked(500, found)})


BY_SAMPLE = {
    key: np.stack([order * ROOM[0] // 500, WINDOWS.wide.found[key][:, 1]], axis=1)
    for key, order in PASSES.middle.found.items()
}
CROPS = {
    "a seed of eight bits": (
        replace(WINDOWS, seeds=alike(263, 7)),
        "windows of seed 263: expected others than of seed 7, found the same",
    ),
    "pairs that share a window": (
        each(lambda w: w[np.arange(500) // 2]),
        "different windows in 10000 draws: expected some 9959, found 4[0-9]{3}",
    ),
    "an epoch far behind that has the windows of the first one": (
        with_later(WINDOWS, (7, 65), WINDOWS.wide.found[7, 1][:50]),
        "different windows of epochs far apart in 10250 draws: expected some 10207, found 10[0-9]+",
    ),
    "pairs that share the top alone": (
        each(lambda w: np.stack([w[np.arange(500) // 2, 0], w[:, 1]], axis=1)),
        "top of a window beside top 1 draw later: expected some 200 draws in each of 25 cells",
    ),
    "epochs that share the top": (
        replace(WINDOWS, wide=Asked(500, {
            (s, e): np.stack([WINDOWS.wide.found[s, 1][:, 0], w[:, 1]], axis=1)
            for (s, e), w in WINDOWS.wide.found.items()
        })),
        "top of a window beside top in the next epoch: expected some 80 ",
    ),
    "seeds that mirror the left": (
        replace(WINDOWS, wide=Asked(500, {
            (s, e): w if s != 8 else np.stack(
                [w[:, 0], ROOM[1] - 1 - WINDOWS.wide.found[7, e][:, 1]], axis=1)
            for (s, e), w in WINDOWS.wide.found.items()
        })),
        "left of a window beside left of the next seed: expected some 100 ",
    ),
    "a diagonal": (
        each(lambda w: np.stack([w[:, 0], w[:, 0] * ROOM[1] // ROOM[0]], axis=1)),
        "top beside left of a window: expected some 400 draws in each of 25 cells",
    ),
    "the border never": (
        each(lambda w: np.minimum(w, (4, 5)), "narrow"),
        "places of 42: expected some 47.6 draws in each of 42 cells, found .*, 12 never",
    ),
    "even places alone": (
        each(lambda w: w // 2 * 2),
        r"top, last digit: expected some 2.5e\+03 draws in each of 4 cells, found .*, 2 never",
    ),
    "a first window that is the centre in each epoch": (
        each(lambda w: np.concatenate([[[480, 630]], w[1:]])),
        "window number 1 of an epoch, of 20 seeds and epochs: expected some 20 different, found 1",
    ),
    "windows by sample": (
        replace(WINDOWS, wide=Asked(500, BY_SAMPLE)),
        "top of the windows of samples by number, part 1 of 5: expected some 400 .*, 4 never",
    ),
    "outside the frame": (
        each(lambda w: w + np.array([0, 1260])),
        r"windows of seed 7, epoch 1: expected top and left from 0 to \[959, 1259\], found up to",
    ),
    "no corners": (
        each(lambda w: w[:, :1]),
        r"windows of seed 7, epoch 1, shape: expected \(500, 2\), found \(500, 1\)",
    ),
}  # fmt: skip


def fair(samples, archs=3, blocks=9):
    return np.argsort(RNG.random((samples // 5, archs, blocks)), axis=1)


def four(samples):
    return fair(samples, 4, 5)


MANY = asked(2000, [(7, 1)], fair).found[7, 1]
CYCLES = Cycles(asked(500, GRID, fair), Asked(100, {(7, 1): MANY, **asked(100, LATER, fair).found}))
FOUR = Cycles(asked(500, GRID, four), asked(100, LATER, four))


def cycles(change):
    return replace(
        CYCLES, asked=Asked(500, {key: change(a) for key, a in CYCLES.asked.found.items()})
    )


def share_swap(archs):
    """Let block 5 put the other two options in the order of block 2; the first one is its own."""
    found = archs.copy()
    two = np.sort(archs[:, 1:, 5], axis=1)
    swapped = (archs[:, 1, 2] > archs[:, 2, 2])[:, None]
    found[:, 1:, 5] = np.where(swapped, two[:, ::-1], two)
    return found


def after_one_another(archs):
    found = archs.copy()
    found[1::2, :, 4] = archs[::2, :, 3]
    return found


FIRST_BLOCK = np.arange(9) == 0
COMBINED = {
    "a seed of eight bits": (
        replace(CYCLES, seeds=alike(263, 7)),
        "fair cycles of seed 263: expected others than of seed 7, found the same",
    ),
    "an epoch far behind that has the cycles of the first one": (
        with_later(CYCLES, (7, 17), MANY[:20]),
        "different fair cycles of epochs, or steps, far apart in 500 draws: expected some 500, "
        "found 480",
    ),
    "cycles that begin again within an epoch": (
        with_later(CYCLES, (7, 1), np.concatenate([MANY[:256], MANY[:144]])),
        "different fair cycles of epochs, or steps, far apart in 500 draws: expected some 500, "
        "found 356",
    ),
    "blocks that share a permutation": (
        cycles(lambda a: np.repeat(a[..., :1], 9, axis=2)),
        "different fair cycles in 2000 draws: expected some 2000, found 6",
    ),
    "two blocks alike": (
        cycles(lambda a: a[..., [0, 1, 2, 3, 4, 5, 6, 7, 2]]),
        "orders of blocks 2 and 8 of a step: expected some 55.6 draws in each of 36 cells, found 0",
    ),
    "two blocks that share a swap": (
        cycles(share_swap),
        "orders of blocks 2 and 5 of a step: expected some 55.6 draws in each of 36 cells",
    ),
    "a step that repeats the one before": (
        cycles(after_one_another),
        "orders of block 3 beside block 4 1 draw later: expected some 27.8 ",
    ),
    "epochs that share a block": (
        replace(CYCLES, asked=Asked(500, {
            (s, e): np.concatenate([CYCLES.asked.found[s, 1][..., :1], a[..., 1:]], axis=2)
            for (s, e), a in CYCLES.asked.found.items()
        })),
        "orders of block 0 beside block 0 in the next epoch: expected some 11.1 ",
    ),
    "an order that never comes": (
        cycles(lambda a: np.where((a[:, 1:2] == 1) & FIRST_BLOCK, np.sort(a, axis=1), a)),
        "orders of block 0: expected some 333 draws in each of 6 cells, found 0 to ",
    ),
    "blocks that follow from three": (
        cycles(lambda a: a[..., [0, 1, 2, 0, 1, 2, 0, 1, 2]]),
        "different fair cycles in 2000 draws: expected some 2000, found 216",
    ),
    "two blocks of four options alike": (
        replace(FOUR, asked=Asked(500, {
            k: a[..., [0, 1, 2, 3, 0]] for k, a in FOUR.asked.found.items()
        })),
        "orders of blocks 0 and 4 of a step: expected some 125 draws in each of 16 cells",
    ),
}  # fmt: skip


NONE = Asked(500, {})
CLEAN = {
    drawn_together.orders_are_independent: [PASSES, replace(PASSES, seeds=SEEDS), REPLACED, FILLED],
    drawn_together.windows_are_independent: [WINDOWS, replace(WINDOWS, orders=None)],
    drawn_together.cycles_are_independent: [CYCLES, FOUR],
}
EMPTY = {
    drawn_together.orders_are_independent: Orders(True, NONE, NONE, NONE, NONE),
    drawn_together.windows_are_independent: Windows(NONE, NONE, None, NONE),
    drawn_together.cycles_are_independent: Cycles(NONE, NONE),
}
CORRUPTED = {
    drawn_together.orders_are_independent: ORDERS,
    drawn_together.windows_are_independent: CROPS,
    drawn_together.cycles_are_independent: COMBINED,
}
NOTHING_TO_TELL = {
    drawn_together.cycles_are_independent: {
        "unfair cycles": (
            cycles(lambda a: a[:, [0, 0, 1]]),
            "found the steps drawn do not train each option of each block once",
        ),
    },
}
