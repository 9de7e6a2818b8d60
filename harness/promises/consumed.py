"""The pixels that training, scoring and recalibration compute on are those that are served."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from harness.promises.bench import Bench
from harness.promises.draws import asked_for
from harness.promises.promise import (
    Outcome,
    Promise,
    Violation,
    needs,
    outcome,
    require_seen,
    with_shown,
)
from harness.promises.recorded_run import both_epochs
from harness.promises.scores import base_evaluation, repeat_again
from harness.promises.shown import Shown, orders_beside
from harness.systems.protocol import Evaluation, ServedBatch
from harness.wording import counted

__all__ = [
    "RECALIBRATED_AS_SERVED", "SCORED_AS_SERVED", "TRAINED_AS_SERVED", "ComputedOn", "Use",
    "computed_on_what_is_served", "recalibrated_on", "scored_on", "trained_on",
]  # fmt: skip


@dataclass(frozen=True)
class Use:
    """The samples that one computation is to see, and the digests of those that it saw.

    Attributes
    ----------
    where : str
        Which computation, for people.
    served : sequence of (str, str)
        Id and digest of each sample that is served for it, in order.
    consumed : sequence of str
        Digests of the arrays that entered it, in order.
    times : tuple of int
        How often it may see the samples, all of them one after the other; empty: any number.
    """

    where: str
    served: Sequence[tuple[str, str]]
    consumed: Sequence[str]
    times: tuple[int, ...] = ()


@dataclass(frozen=True)
class ComputedOn:
    """Every computation of one kind."""

    uses: Sequence[Use]


def _sample_digests(batches: Iterable[ServedBatch]) -> list[tuple[str, str]]:
    """Return id and digest of every sample of batches, from their arrays."""
    # Made here and not by the system's code, which would vouch for itself.
    return [
        (sample, hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest())
        for batch in batches
        for sample, *parts in zip(
            batch.ids,
            (frames.tobytes() for frames in batch.frames),
            (flow.tobytes() for flow in batch.flow),
            (valid.tobytes() for valid in batch.valid),
            strict=True,
        )
    ]


@needs("train", "batches", says=("Training.consumed",))
def trained_on(bench: Bench) -> ComputedOn:
    """Hold what each step of two epochs computed on against what is served for it."""
    training = both_epochs(bench)
    require_seen(training.steps, "no training step was recorded (Training.steps)")
    require_seen(training.consumed, "it is not said what a step computed on (Training.consumed)")
    served = bench.evidence(asked_for)
    uses = []
    for step, batch, consumed in zip_longest(training.steps, served, training.consumed):
        where = f"epoch {step.epoch}, step {step.step}" if step else "a step that was not recorded"
        archs = len(step.archs) if step else 1
        samples = _sample_digests([batch] if batch else [])
        # Once, where whoever looks does so before the archs take their turns.
        uses.append(Use(where, samples, consumed or (), (1, archs)))
    return ComputedOn(uses)


@needs("evaluate", "batches", says=("Evaluation.consumed",))
def scored_on(bench: Bench) -> ComputedOn:
    """Hold what two evaluations scored on against the evaluation batches that are served."""
    evaluations = _evaluations(bench)
    require_seen(
        evaluations["evaluation"].consumed, "it is not said what was scored (Evaluation.consumed)"
    )
    with bench.scored() as system:
        samples = _sample_digests(system.batches("eval"))
    return ComputedOn(
        [
            Use(f"{name} of arch {arch}", samples, found.consumed.get(arch, ()), (1,))
            for name, found in evaluations.items()
            for arch in found.archs
        ]
    )


@needs("evaluate", "batches", says=("Evaluation.recal_consumed",))
def recalibrated_on(bench: Bench) -> ComputedOn:
    """Hold what two evaluations recalibrated on against the batches that are served for it."""
    evaluations = _evaluations(bench)
    require_seen(
        evaluations["evaluation"].recal_consumed,
        "it is not said what was recalibrated on (Evaluation.recal_consumed)",
    )
    with bench.scored() as system:
        # Random recalibration draws a set for each epoch, and a trained system has done two.
        samples = _sample_digests(system.batches("recal", epoch=2 if bench.trainable else 1))
    return ComputedOn(
        [
            Use(f"recalibration of the {name}", samples, found.recal_consumed)
            for name, found in evaluations.items()
        ]
    )


def _evaluations(bench: Bench) -> Mapping[str, Evaluation]:
    base = base_evaluation(bench)
    return {"evaluation": base, "repeated evaluation": bench.evidence(repeat_again).again}


def computed_on_what_is_served(evidence: ComputedOn) -> Outcome:
    """Require every array that entered a computation to be the one that is served for it."""
    owners = {digest: sample for use in evidence.uses for sample, digest in use.served}
    violations = [
        violation
        for use in evidence.uses
        for violation in with_shown(list(_differences(use, owners)), partial(_beside, use, owners))
    ]
    seen = sum(len(use.consumed) for use in evidence.uses)
    figures = f"{counted(seen, 'sample')} of {counted(len(evidence.uses), 'computation')}"
    return outcome(violations[:6], seen, f"{figures}, by the arrays computed on")


def _beside(use: Use, owners: Mapping[str, str]) -> tuple[Shown, ...]:
    """Return the samples that are served for a computation beside those that it saw."""
    served = [sample for sample, _ in use.served]
    times = max(len(use.consumed) // max(len(served), 1), 1)
    expected = [digest for _, digest in use.served] * times
    # Of whom it is named, but for the same pixels under another name.
    seen = [
        (served * times)[place] if expected[place : place + 1] == [digest]
        else owners.get(digest, "other pixels or flow")
        for place, digest in enumerate(use.consumed)
    ]  # fmt: skip
    return (
        orders_beside(f"samples of {use.where}", served * times, seen, ("served", "computed on")),
    )


def _differences(use: Use, owners: Mapping[str, str]) -> Iterator[Violation]:
    """Yield the samples of one computation that are others than served, or their number."""
    times, rest = divmod(len(use.consumed), max(len(use.served), 1))
    wrong = bool(use.times) and times not in use.times
    if not use.served or rest or times == 0 or wrong:
        often = " or ".join(map(str, sorted(set(use.times)))) or "a whole number of"
        yield Violation(
            f"{use.where}, samples computed on", f"{len(use.served)}, {often} times",
            str(len(use.consumed)),
        )  # fmt: skip
        return
    for place, digest in enumerate(use.consumed):
        sample, served = use.served[place % len(use.served)]
        if digest != served:
            found = f"those of sample {owners[digest]}" if digest in owners else "others"
            yield Violation(
                f"{use.where}, place {place}, sample {sample}", "the pixels and flow that are "
                "served", found,
            )  # fmt: skip


TRAINED_AS_SERVED = Promise(
    id="trained-as-served",
    sentence="a training step computes on the pixels and flow that are served",
    evidence=trained_on,
    check=computed_on_what_is_served,
    hint=(
        "A batch's digest travels with it and says nothing of its arrays: a buffer is overwritten "
        "while it is in use, or samples are put together otherwise on their way to training."
    ),
    explained_by=(
        "drawn-as-served",
        "train-draws-declared:draws",
        "train-draws-declared:plan",
        "eval-pure:other each time",
        "resume-exact:draws",
    ),
    varied=True,
)

SCORED_AS_SERVED = Promise(
    id="scored-as-served",
    sentence="an evaluation scores the pixels and flow that are served",
    evidence=scored_on,
    check=computed_on_what_is_served,
    hint=(
        "The hash of the evaluation batches travels with them and says nothing of their arrays: "
        "what was scored is other than what is served."
    ),
    explained_by=("eval-order-fixed", "same-scores-again:other each time"),
)

RECALIBRATED_AS_SERVED = Promise(
    id="recalibrated-as-served",
    sentence="recalibration computes on the pixels that are served for it",
    evidence=recalibrated_on,
    check=computed_on_what_is_served,
    hint=(
        "The hash of the recalibration batches travels with them and says nothing of their "
        "arrays: the statistics are of other pixels than served."
    ),
    explained_by=("recal-batches-first", "recal-batches-fixed"),
    varied=True,
)
