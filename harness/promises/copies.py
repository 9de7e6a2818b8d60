"""What copies of one sample tell beside a first step: a smaller last batch, and what is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.gradient_candidates import gradient_distance
from harness.promises.gradients import (
    GRADIENT_TOLERANCE,
    Gradient,
    adam_slots,
    first_step_gradient,
    gradient_between,
    gradient_of_first,
)
from harness.promises.one_batch import crop_of_random_draws, one_batch_sections
from harness.promises.samples import FEW_SAMPLES, copy_samples, split_folder
from harness.systems.declared import ADAM
from harness.systems.protocol import System, Training

__all__ = ["SmallerLast", "last_differs", "require_digests", "smaller_last", "with_other_draws"]

_MORE = 2
"""Samples of the smaller batch: where micro-batches of two go on from batch to batch, the third of
them fills a step of three, and one sample is left for the next."""

_AS_FIRST = 0.02
"""Relative distance of the gradients of two full batches, where no weight moves in between."""

_STILL = 1e-9
"""Learning rate at which no step moves a weight by what its rounding is."""


@dataclass(frozen=True)
class SmallerLast:
    """A pass over two samples more than a batch has room for, all of them copies of one.

    Attributes
    ----------
    samples : int
        Of the pass.
    trained : sequence of int
        Samples of each of its steps; none where the system does not say.
    last, full : mapping of str to numpy.ndarray or None
        Gradients of its second step, and of a step of two samples where a batch has room for no
        more. None where the pass is not of two steps.
    """

    samples: int
    trained: Sequence[int]
    last: Gradient | None = None
    full: Gradient | None = None


def smaller_last(
    bench: Bench, content: str, first: Gradient, *, micro: int
) -> SmallerLast | None:  # fmt: skip
    """Train a full batch and a smaller one, and as many samples where they fill a batch.

    The rate is next to none, so that both are taken with the same weights. None of a system of
    which a step is repeated within an epoch, of one whose last batch is never smaller, and of a
    net of options, whose archs differ from step to step. Gradients are told of a pass of two steps,
    as it is too where micro-batches of two go on from one batch into the next.

    Parameters
    ----------
    content : str
        The sample that is copied.
    first : mapping of str to numpy.ndarray
        Gradient of the full batch, in the same micro-batches.
    micro : int
        Samples of a micro-batch.
    """
    about, source = bench.describe(), split_folder(bench, "train")
    never = about.whole_batches or about.drop_last or about.options or "steps" in about.supports
    fixed = {"train.lr", "train.batch_size"} & about.settings.keys()
    if never or fixed or crop_of_random_draws(bench) is not None:
        return None

    def trained(size: int, count: int) -> tuple[Training, Gradient]:
        folder = bench.folder / f"{count}-copies"
        copy_samples(source, dict.fromkeys([f"{i:07d}" for i in range(count)], content), folder)
        sections = one_batch_sections(bench, folder, size, micro=min(micro, size))
        sections["train"]["lr"] = _STILL
        with bench.open(**sections) as system:
            return _moments_of_a_pass(system)

    run, last = trained(FEW_SAMPLES, FEW_SAMPLES + _MORE)
    alone, full = trained(_MORE, _MORE)
    told = SmallerLast(FEW_SAMPLES + _MORE, tuple(map(len, run.samples or run.consumed)))
    if (len(run.steps), len(alone.steps)) != (2, 1):
        return told
    rule = about.update or ADAM
    share = 1.0 if rule.rule == "sgd" else 1 - rule.betas[0]
    before = {name: share * np.asarray(g, np.float64) for name, g in first.items()}
    second, reference = gradient_between(rule, before, last), gradient_of_first(rule, full)
    if not gradient_distance(reference, second) <= GRADIENT_TOLERANCE:
        # Of a loss that changes from step to step, two full batches tell.
        # They are twelve copies where micro-batches go on from one into the next.
        controls = (trained(FEW_SAMPLES, count) for count in (2 * FEW_SAMPLES, 6 * micro))
        if not any(
            len(again.steps) == 2
            and gradient_distance(first, gradient_between(rule, before, both)) <= _AS_FIRST
            for again, both in controls
        ):
            return told
    return replace(told, last=second, full=reference)


def _moments_of_a_pass(system: System) -> tuple[Training, Gradient]:
    slots = adam_slots(system)
    run = system.train(1, evaluate=False)
    state = system.state()
    return run, {weight: np.array(state[m]) for weight, (m, _) in slots.items()}


def last_differs(run: Training) -> bool | None:
    """Return whether the last sample of a run's first step, and it alone, is another.

    None where it is not said what a step trained on.
    """
    digests = next(iter(run.samples or run.consumed), ())
    archs = len(run.steps[0].archs) if run.steps and not run.samples else 1
    if archs > 1 and len(digests) % archs == 0:
        own = digests[: len(digests) // archs]
        digests = own if own * archs == digests else digests
    if not digests:
        return None
    return set(digests[:-1]) == {digests[0]} and digests[-1] != digests[0]


def with_other_draws(bench: Bench, size: int, folder: str) -> Gradient | None:
    """Return the first gradient of the same weights under another seed.

    None where the seed cannot be chosen, or another one brings other weights or archs.
    """
    place = bench.folder / folder
    sections = one_batch_sections(bench, place, size, micro=size)
    if "runtime.seed" in bench.describe().settings:
        return None
    seed = bench.config["runtime"]["seed"] + 1
    with bench.open(**sections) as system:
        start = {name: np.array(a) for name, a in system.state().items()}
        archs = _archs(system.train(1, evaluate=False))
    weights = {name: a for name, a in start.items() if not name.startswith("progress/")}
    with bench.open(**sections, runtime={"seed": seed}) as system:
        slots, rule = adam_slots(system), system.describe().update or ADAM
        system.state(weights)
        there = system.state()
        if not all(np.array_equal(there[name], a) for name, a in weights.items()):
            return None
        other = _archs(system.train(1, evaluate=False))
        gradient = first_step_gradient(system.state(), slots, rule)
    return gradient if archs == other else None


def _archs(run: Training) -> tuple[str, ...]:
    return tuple(run.steps[0].archs) if run.steps else ()


def require_digests(told: bool | None) -> bool:
    """Return whether a last sample differs; not applicable where that is not said."""
    if told is None:
        msg = (
            "the system neither serves its training batches nor says what a step trained on "
            "(Training.samples), so that no sample is known to be alone in its micro-batch"
        )
        raise NotApplicableError(msg)
    return told
