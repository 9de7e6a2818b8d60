"""Augmentation is drawn anew: on copies of one sample, which differ by what was drawn alone.

A generator that starts over draws the same for other samples, as a shuffle puts others in their
place: of samples that differ no digest would ever repeat.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.chance import FALSE_ALARM, Finding, too_unlikely
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome, require_seen
from harness.promises.samples import listed_samples, split_folder
from harness.promises.setting import link_samples
from harness.systems.protocol import Training
from harness.wording import counted

__all__ = [
    "AUGMENTATION_DRAWN_ANEW", "Augmented", "augmentation_is_drawn_anew", "augmented",
    "found_in_both", "same_in_place",
]  # fmt: skip

Steps = Sequence[Sequence[str]]
"""Of each step the digests of its samples."""

_COPIES = 32
"""Draws of an epoch at least: half of them, of every second batch, still tell a stream that two
workers share, and two versions of a sample that are equally likely tell a repeat."""


@dataclass(frozen=True)
class Augmented:
    """What training drew of copies of one sample: digests that differ by what was drawn alone.

    Attributes
    ----------
    first, second : sequence of sequence of str
        Of each step of epochs 1 and 2 the digests of its samples.
    other_seed : sequence of sequence of str or None
        Of epoch 1 of another seed. None of a system that has one seed alone.
    """

    first: Steps
    second: Steps
    other_seed: Steps | None


@needs("train", says=("augmentation", "Training.samples"))
def augmented(bench: Bench) -> Augmented:
    """Train two epochs on copies of one sample, and one epoch under another seed."""
    if not bench.describe().augmentation:
        msg = "the system declares no augmentation (describe().augmentation)"
        raise NotApplicableError(msg)
    sections = _on_copies(bench)
    with bench.open(**sections) as system:
        first = _drawn(system.train(1, evaluate=False))
        second = _drawn(system.train(2, evaluate=False))
    other: Steps | None = None
    if "runtime.seed" not in bench.describe().settings:
        seed = {"seed": bench.config["runtime"]["seed"] + 1}
        with bench.open(**sections, runtime=seed) as system:
            other = _drawn(system.train(1, evaluate=False))
    return Augmented(first, second, other)


def _on_copies(bench: Bench) -> dict[str, dict[str, Any]]:
    """Return the keys of a training on copies of one sample: whole batches, an even number."""
    size, source = int(bench.config["train"]["batch_size"]), split_folder(bench, "train")
    steps = 2 * math.ceil(_COPIES / (2 * size))
    folder = bench.folder / "augmented"
    names = [f"{number:07d}" for number in range(steps * size)]
    link_samples(source, listed_samples(source)[:1] * len(names), folder / "train", names=names)
    val = split_folder(bench, "val")
    link_samples(val, listed_samples(val), folder / "val")
    data = {"base_path": str(folder), "train_dir": "train", "val_dir": "val"}
    fixed = bench.config["train"].get("epoch_mode") != "full_pass"
    train = bench.settable("train", {"steps_per_epoch": steps}) if fixed else {}
    return {"data": data, "train": train}


def _drawn(training: Training) -> Steps:
    """Return the digests of each step's samples, once of those that several archs train on."""
    require_seen(training.steps, "no training step was recorded (Training.steps)")
    found: Steps = training.samples or tuple(
        _once(digests, len(step.archs))
        for step, digests in zip(training.steps, training.consumed, strict=False)
    )
    require_seen(
        any(found), "it is not said which samples a step trained on (Training.samples or consumed)"
    )
    return found


def _once(digests: Sequence[str], archs: int) -> Sequence[str]:
    one = digests[: len(digests) // max(archs, 1)]
    return one if tuple(one) * archs == tuple(digests) else digests


def augmentation_is_drawn_anew(evidence: Augmented) -> Outcome:
    """Require other draws for each sample, in each epoch, under each seed and in each worker.

    No distribution is assumed: what repeats is told where draws that are exchangeable, whatever
    they are drawn from, would repeat so in fewer than one of ten million gates.
    """
    first, second = _flat(evidence.first), _flat(evidence.second)
    other = _flat(evidence.other_seed or ())
    drawn, versions = [*first, *second, *other], len({*first, *second, *other})
    figures = f"{counted(len(drawn), 'draw')} of one sample, {counted(versions, 'version')}"
    if versions == 1 and min(len(first), len(second)) > 1:
        where = f"{counted(len(drawn), 'draw')} of one sample"
        one = Violation(where, "several versions of it", "one alone, all draws alike", "draws")
        return outcome([one], len(drawn), figures)
    found = _by_place("epoch 2", "in epoch 1", first, second)
    if other:
        found += _by_place("another seed", "under this one", first, other)
    found += _by_place("every second batch", "in the one before", *_batch_by_batch(evidence))
    wrong = too_unlikely(found)
    if not any(one.where.startswith("epoch 2,") for one in wrong):
        # Which those that repeat in their place do as well.
        wrong += too_unlikely([_in_another_order(first, second)])
    known = same_in_place(first, first)[1] < math.log(FALSE_ALARM / max(1, len(found)))
    unseen = "" if known or wrong or not drawn else f"{figures}: a repeat might be chance"
    return outcome(wrong, len(drawn), figures, unseen=unseen)


def _flat(steps: Steps) -> list[str]:
    return [digest for step in steps for digest in step]


def _batch_by_batch(evidence: Augmented) -> tuple[list[str], list[str]]:
    """Return the samples of every first and of every second batch of epoch 1.

    Batches after one another are those of two workers; so are two in three pairs of them where
    three workers take turns.
    """
    pairs = list(zip(evidence.first[::2], evidence.first[1::2], strict=False))
    alike = [(a, b) for a, b in pairs if len(a) == len(b)]
    return _flat([a for a, _ in alike]), _flat([b for _, b in alike])


def _by_place(
    what: str, where: str, one: Sequence[str], other: Sequence[str]
) -> list[Finding]:  # fmt: skip
    """Return how many draws are those of the same place in another row of draws."""
    count, chance = same_in_place(one, other)
    places = min(len(one), len(other))
    found = f"the same in {count} of {places} places"
    return [Finding(f"{what}, draws of one sample", f"others than {where}", found, chance)]


def _in_another_order(first: Sequence[str], second: Sequence[str]) -> Finding:
    count, chance = found_in_both(first, second)
    found = f"{count} of {len(second)} that are those of epoch 1"
    where = "epoch 2, draws of one sample in any order"
    return Finding(where, "others than in epoch 1", found, chance)


def same_in_place(one: Sequence[Hashable], other: Sequence[Hashable]) -> tuple[int, float]:
    """Return in how many places two rows of draws agree, and a bound on the chance of it.

    Whatever is drawn from, if draws do not depend on one another, each order of the second row is
    as likely as any other. Sets of m places that agree then number, on average, the m-th rook
    number of a board of one rectangle for each value, as often as it is in either row, over
    n! / (n - m)!; so many or more places agree with at most that chance (Markov's inequality).

    Returns
    -------
    count : int
    chance : float
        Natural logarithm.
    """
    size = min(len(one), len(other))
    first, second = one[:size], other[:size]
    count = sum(a == b for a, b in zip(first, second, strict=True))
    if not count:
        return 0, 0.0
    rooks, often = [1], Counter(second)
    for value, times in Counter(first).items():
        rooks = _product(rooks, _rectangle(times, often[value]))
    chance = math.log(rooks[count]) + math.lgamma(size - count + 1) - math.lgamma(size + 1)
    return count, min(0.0, chance)


def _rectangle(rows: int, columns: int) -> list[int]:
    """Return in how many ways 0, 1, ... rooks stand on a rectangle without attack."""
    return [
        math.comb(rows, k) * math.comb(columns, k) * math.factorial(k)
        for k in range(min(rows, columns) + 1)
    ]


def _product(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Return the coefficients of the product of two polynomials."""
    found = [0] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            found[i + j] += a * b
    return found


def found_in_both(one: Sequence[Hashable], other: Sequence[Hashable]) -> tuple[int, float]:
    """Return how many values that come twice are once in each row of draws, and the chance of it.

    If draws do not depend on one another, each choice of those that are in the first row is as
    likely as any other: of t values that come twice in N draws, exactly j lie in both rows in
    C(t, j) 2^j sum_k C(t - j, k) C(N - 2 t, n - j - 2 k) of C(N, n) choices.

    Returns
    -------
    count : int
    chance : float
        Natural logarithm of the chance of so many or more.
    """
    size, total = len(one), len(one) + len(other)
    here, there = Counter(one), Counter(other)
    twice = [value for value, times in (here + there).items() if times == 2]
    count = sum(here[value] == 1 for value in twice)
    if not count:
        return 0, 0.0
    pairs, single = len(twice), total - 2 * len(twice)
    ways = sum(
        math.comb(pairs, j) * 2**j * math.comb(pairs - j, k) * math.comb(single, size - j - 2 * k)
        for j in range(count, pairs + 1)
        for k in range(min(pairs - j, (size - j) // 2) + 1)
        if size - j - 2 * k >= 0
    )
    return count, math.log(ways) - math.log(math.comb(total, size))


AUGMENTATION_DRAWN_ANEW = Promise(
    id="augmentation-drawn-anew",
    sentence="augmentation is drawn anew for each sample, epoch, seed and worker",
    evidence=augmented,
    check=augmentation_is_drawn_anew,
    hint=(
        "A worker that is seeded with its number alone, or that inherits a generator which nobody "
        "moves on, draws the same in each epoch; two that inherit one draw the same as each "
        "other. Give each a seed of its own that follows from the run's seed and the epoch."
    ),
    explained_by=("train-draws-declared:draws",),
)
