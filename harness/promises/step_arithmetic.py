"""The arithmetic of a training step, for batches, micro-batches and plans of any size."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.promises.bench import Bench
from harness.promises.drawn_cases import case_count, for_all, parts, require, require_refusal
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome

__all__ = [
    "ACCUMULATED_GRADIENT", "ACCUMULATION", "CLIPPING", "CLIP_PLAN", "LEARNING_RATE", "Accumulated",
    "clipping_keeps_direction", "gradient_accumulates", "learning_rate_follows_the_plan",
    "micro_batches_give_the_mean", "planned_checks_match_a_walk", "train_parts",
    "whole_and_accumulated",
]  # fmt: skip

_SUM_TOLERANCE = 1e-5
"""Relative distance of two sums of the same float32 gradients in another order."""

_OTHER_SIZE_TOLERANCE = 0.05
"""Relative distance of gradients of other batch sizes: their kernels round otherwise, and a ReLU
that flips moves a gradient by 1 % (decision 0008). One sample of ten moves it by more."""

_SAMPLES = 10

_SEEDS = st.integers(0, 2**32 - 1)
Gradient = list[NDArray[Any]]


@needs(says=("parts",))
def train_parts(bench: Bench) -> Any:
    """Return the parts that a training step is put together from."""
    return parts(bench).train


def planned_checks_match_a_walk(evidence: Any) -> Outcome:
    """Require the closed form to count what a walk through an epoch counts."""

    def plan(count: int, batch: int, micro: int, steps: int | None) -> None:
        full = [min(batch, count - i) for i in range(0, count, batch)]
        sizes = full if steps is None else [batch] * steps
        where = f"clip checks of batches {sizes}, micro-batch {micro}"
        walked = sum(1 for s in sizes for _ in range(3) for _ in evidence.micro_batches(s, micro))
        formula = 3 * sum(math.ceil(size / micro) for size in sizes)
        found = evidence.expected_checks(sizes, micro, position="micro_step")
        require(f"{where}, per micro_step", formula, found)
        require(f"{where}, per micro_step, as walked through", formula, walked)
        found = evidence.expected_checks(sizes, micro, position="update")
        require(f"{where}, per update", len(sizes), found)
        for wrong in ("epoch", "zzz"):
            require_refusal(
                f"{where}, per {wrong}", wrong,
                evidence.expected_checks, sizes, micro, position=wrong,
            )  # fmt: skip

    sizes = st.integers(1, 12)
    violations = for_all(plan, st.integers(1, 60), sizes, sizes, st.none() | st.integers(1, 5))
    return outcome(violations, case_count(), f"{case_count()} plans, uneven too")


CLIP_PLAN = Promise(
    id="clip-plan",
    sentence="planned clip checks in both modes",
    evidence=train_parts,
    check=planned_checks_match_a_walk,
    hint="The plan counts a partial batch as a whole one, or rounds its micro-batches down.",
    explained_by=("clip-checks-planned-micro-step", "clip-checks-planned-update"),
)


def micro_batches_give_the_mean(evidence: Any) -> Outcome:
    """Require accumulated means to equal the mean over the whole batch and all archs."""

    def accumulation(batch: int, micro: int, seed: int) -> None:
        samples = np.random.default_rng(seed).normal(size=(3, batch, 4))
        total, used = [np.zeros(4)], 0
        for arch in samples:
            for piece in evidence.micro_batches(batch, micro):
                used += len(arch[piece])
                weight = evidence.micro_weight(len(arch[piece]), batch)
                total = evidence.accumulate(total, [arch[piece].mean(axis=0)], weight)
        where, expected = f"batch {batch} in micro-batches of {micro}", samples.mean(axis=(0, 1))
        require(f"{where}, samples used by three archs", 3 * batch, used)
        close = np.allclose(total[0], expected, rtol=1e-12, atol=1e-14)
        require(f"{where}, mean", expected, np.asarray(total[0]), holds=close)

    violations = for_all(accumulation, st.integers(1, 17), st.integers(1, 17), _SEEDS)
    return outcome(violations, case_count(), f"{case_count()} batch sizes")


ACCUMULATION = Promise(
    id="accumulation",
    sentence="uneven micro-batches give the mean",
    evidence=train_parts,
    check=micro_batches_give_the_mean,
    hint="Means of unequal micro-batches are averaged as if they were equal, or summed.",
    explained_by=("micro-batches-weighed",),
)


def clipping_keeps_direction(evidence: Any) -> Outcome:
    """Require only the length to change above the threshold, and not one bit below it."""

    def clipping(seed: int, threshold: float) -> None:
        rng, where = np.random.default_rng(seed), f"clip to {threshold:.6g}"
        gradients = [rng.normal(size=s).astype(np.float32) for s in ((2, 3), (4,))]
        norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients))
        clipped, before, after = evidence.clip(gradients, np.float32(threshold))
        for name, expected, found in (
            ("before", norm, float(before)), ("after", min(norm, threshold), float(after))
        ):  # fmt: skip
            close = math.isclose(found, expected, rel_tol=1e-5)
            require(f"{where}, norm {name}", expected, found, holds=close)
        # Nearer to the threshold than rounding, either answer is right.
        if norm < threshold * (1 - 1e-5):
            same = all(map(np.array_equal, gradients, map(np.asarray, clipped)))
            require(f"{where}, norm {norm:.6g}", "the same gradient", "another", holds=same)
        ratio = min(1.0, threshold / norm)
        close = all(
            np.allclose(np.asarray(new), ratio * old, rtol=2e-5)
            for old, new in zip(gradients, clipped, strict=True)
        )
        require(f"{where}, every variable", f"{ratio:.6g} times as long", "not so", holds=close)

    violations = for_all(clipping, _SEEDS, st.floats(0.1, 20))
    return outcome(violations, case_count(), f"{case_count()} gradients")


CLIPPING = Promise(
    id="clipping",
    sentence="clipping bounds the norm, keeps direction",
    evidence=train_parts,
    check=clipping_keeps_direction,
    hint="Each variable is clipped by itself, by value, or below the threshold too.",
    explained_by=("clip-applied",),
)


def learning_rate_follows_the_plan(evidence: Any) -> Outcome:
    """Require a cosine that starts at the base rate, falls at every step and never reaches 0."""

    def schedule(total: int, base: float) -> None:
        where = f"learning rates of {total} steps from {base:.6g}"
        rates = [evidence.schedule(base, step, total) for step in range(total)]
        expected = [base * 0.5 * (1 + math.cos(math.pi * s / total)) for s in range(total)]
        wrong = [i for i in range(total) if not math.isclose(rates[i], expected[i], rel_tol=1e-12)][
            :1
        ]
        for index in wrong:
            require(f"{where}, step {index}", expected[index], rates[index])
        falls = all(a > b > 0 for a, b in itertools.pairwise(rates))
        require(where, "falling and above 0", rates[:3], holds=falls)
        for step in (-1, total, total + 1):
            require_refusal(
                f"{where}, step {step}", "planned steps",
                evidence.schedule, base, step, total,
            )  # fmt: skip

    violations = for_all(schedule, st.integers(1, 300), st.floats(1e-6, 1.0))
    return outcome(violations, case_count(), f"{case_count()} plans")


LEARNING_RATE = Promise(
    id="learning-rate",
    sentence="the cosine follows the planned steps",
    evidence=train_parts,
    check=learning_rate_follows_the_plan,
    hint="The schedule is off by a step, ends early, or goes on beyond the plan.",
    explained_by=("update-is-adam:step", "epoch-rows-add-up:step"),
)


@dataclass(frozen=True)
class Accumulated:
    """The gradient of a batch, of its micro-batches, and what these were added up to.

    Attributes
    ----------
    whole, total : list of numpy.ndarray
        Of the whole batch at once; as accumulated.
    pieces : tuple of (int, list of numpy.ndarray)
        Samples of each micro-batch, and its gradient.
    """

    whole: Gradient
    total: Gradient
    pieces: tuple[tuple[int, Gradient], ...]


@needs(says=("parts",))
def whole_and_accumulated(bench: Bench) -> Accumulated:
    """Return the gradient of 10 samples, and of 4, 4 and 2 of them, BN statistics held fixed."""
    train = parts(bench).train
    from harness.config import parse_config
    from harness.training.model import Supernet

    config = parse_config(bench.config)
    model = Supernet(config.model.skeleton, config.model.width, config.runtime.seed)
    frames = np.random.default_rng(1).integers(0, 256, (_SAMPLES, 32, 48, 6), np.uint8)
    flow = np.random.default_rng(2).normal(0, 3, (_SAMPLES, 32, 48, 2)).astype(np.float32)
    batch = (frames, flow, np.ones((_SAMPLES, 32, 48), bool))

    def gradient(piece: slice) -> Gradient:
        found = _fixed_gradient(model, train, [array[piece] for array in batch], config)
        return [np.asarray(g) for g in found]

    whole, pieces = gradient(slice(0, _SAMPLES)), []
    total = [np.zeros_like(g) for g in whole]
    for piece in train.micro_batches(_SAMPLES, 4):
        count, found = len(frames[piece]), gradient(piece)
        pieces.append((count, found))
        # micro_weight shares a step among three archs; here there is one.
        weight = np.float32(3 * train.micro_weight(count, _SAMPLES))
        total = train.accumulate(total, found, weight)
    return Accumulated(whole, [np.asarray(g) for g in total], tuple(pieces))


def _fixed_gradient(model: Any, train: Any, batch: list[NDArray[Any]], config: Any) -> Any:
    # Imported here, because the environment must be applied before TensorFlow starts.
    import tensorflow as tf

    from harness.supernet.network import FixedNorm
    from harness.training.step_functions import loss_and_gradients

    return loss_and_gradients(
        model, train, config.train.weight_decay, tf.constant([0, 1, 2, 0, 1, 2, 0, 1, 2]),
        [tf.constant(array) for array in batch],
        # Normalised by its own statistics, each micro-batch would be another function.
        lambda weights: FixedNorm(weights, model.moving),
    )[1]  # fmt: skip


def gradient_accumulates(evidence: Accumulated) -> Outcome:
    """Require the sum over micro-batches by their samples, and that to be the whole batch's."""
    whole, total = _flat(evidence.whole), _flat(evidence.total)
    samples = max(sum(count for count, _ in evidence.pieces), 1)
    summed = np.zeros_like(whole) + sum(n / samples * _flat(g) for n, g in evidence.pieces)
    size = float(np.linalg.norm(whole))
    names = " + ".join(str(count) for count, _ in evidence.pieces)
    violations, apart = [], []
    for what, expected, allowed in (
        (f"the sum of those of {names} by their samples", summed, _SUM_TOLERANCE),
        (f"that of {_SAMPLES} at once", whole, _OTHER_SIZE_TOLERANCE),
    ):
        distance = float(np.linalg.norm(total - expected)) / max(size, 1e-300)
        apart.append(f"{distance:.0e}")
        if not (size > 0 and distance < allowed):
            text = f"relative distance {distance:.1e} of a norm of {size:.3g}"
            where = f"gradient of {names} samples"
            violations.append(Violation(where, f"{what}, within {allowed:g}", text))
    figures = f"BN held fixed: {apart[0]} from the sum, {apart[1]} from the whole batch"
    return outcome(violations, len(whole), figures)


def _flat(gradient: Gradient) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(np.asarray(g, np.float64)) for g in gradient])


ACCUMULATED_GRADIENT = Promise(
    id="accumulated-gradient",
    sentence="4 + 4 + 2 samples give the gradient of 10",
    evidence=whole_and_accumulated,
    check=gradient_accumulates,
    hint="A micro-batch is lost, counted twice, or weighed by something else than its samples.",
    explained_by=("accumulation", "micro-batches-weighed"),
)
