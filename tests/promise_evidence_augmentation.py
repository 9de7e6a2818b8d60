"""Evidence about what was drawn of copies of one sample: batches of 5, an epoch of 8 of them."""

from dataclasses import replace

import numpy as np

from harness.promises import augmentation
from harness.promises.augmentation import Augmented

RNG = np.random.default_rng(5)
STEPS, SIZE = 8, 5


def epoch(draw, steps=STEPS, size=SIZE):
    return [[str(draw()) for _ in range(size)] for _ in range(steps)]


def of(draw, **of_epoch):
    return Augmented(*(epoch(draw, **of_epoch) for _ in range(3)))


def any_number():
    return RNG.integers(10**9)


def heads_or_tails():
    return RNG.integers(2)


def placed(steps, order):
    flat = [digest for step in steps for digest in step]
    drawn = [flat[i] for i in order]
    return [drawn[i : i + SIZE] for i in range(0, len(drawn), SIZE)]


NEW = of(any_number)
FLIPS = of(heads_or_tails)
TURNED = RNG.permutation(STEPS * SIZE)

DRAWN = {
    "workers that are seeded with their number in each epoch": (
        replace(NEW, second=NEW.first),
        "epoch 2, draws of one sample: expected others than in epoch 1, found the same in 40 of 40",
    ),
    "flips that are drawn again in each epoch": (
        replace(FLIPS, second=FLIPS.first), "epoch 2, .*: expected others .*, found the same in 40"
    ),
    "one worker of two that repeats its epoch": (
        replace(NEW, second=[a if i % 2 else b for i, (a, b) in enumerate(
            zip(NEW.first, NEW.second, strict=True))]),
        "epoch 2, .*: expected others than in epoch 1, found the same in 20 of 40 places",
    ),
    "a seed that never arrives": (
        replace(NEW, other_seed=NEW.first),
        "another seed, .*: expected others than under this one, found the same in 40 of 40 places",
    ),
    "two workers that inherit one generator": (
        replace(NEW, first=[NEW.first[i // 2] for i in range(STEPS)]),
        "every second batch, .*: expected others than in the one before, found the same in 20 of",
    ),
    "three workers that inherit one generator": (
        replace(NEW, first=[NEW.first[i // 3] for i in range(STEPS)]),
        "every second batch, .*: expected others .*, found the same in 15 of 20 places",
    ),
    "a draw that each sample keeps, in another order": (
        replace(NEW, second=placed(NEW.first, TURNED)),
        "epoch 2, draws of one sample in any order: expected others .*, found 40 of 40 that are",
    ),
    "a generator that is seeded for each sample": (
        of(lambda: 7),
        "120 draws of one sample: expected several versions of it, found one alone, all draws",
    ),
    "no draw of a system that has one seed alone": (
        replace(of(lambda: 7), other_seed=None), "80 draws of one sample: expected several"
    ),
}  # fmt: skip

CLEAN = {
    augmentation.augmentation_is_drawn_anew: [
        NEW,
        replace(NEW, other_seed=None),
        FLIPS,
        of(lambda: RNG.integers(6)),
        # One draw for a whole batch; few samples, of which many are drawn at one place by chance.
        Augmented(*([[str(any_number())] * SIZE for _ in range(STEPS)] for _ in range(3))),
        of(lambda: RNG.integers(30)),
        of(any_number, steps=32, size=1),
        of(any_number, steps=2, size=16),
    ]
}
EMPTY = {augmentation.augmentation_is_drawn_anew: Augmented([], [], None)}
NOTHING_TO_TELL = {
    augmentation.augmentation_is_drawn_anew: {
        "a few samples": (
            of(heads_or_tails, steps=2, size=3),
            "evidence: expected something to compare, found 18 draws .*: a repeat might be chance",
        ),
        "a change that is hardly ever drawn": (
            replace(of(lambda: 7), second=[["8", *["7"] * 39]]),
            "found 120 draws of one sample, 2 versions: a repeat might be chance",
        ),
    }
}
CORRUPTED = {augmentation.augmentation_is_drawn_anew: DRAWN}
