"""Every sample of a pass over the split is in a step: none is taken and left without one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.promises.bench import Bench
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome, require_seen
from harness.promises.recorded_run import both_epochs, planned_sizes
from harness.systems.protocol import Training

__all__ = ["WHOLE_PASSES", "Passes", "passes", "passes_are_trained_whole"]


@dataclass(frozen=True)
class Passes:
    """How many samples the steps of each epoch trained on.

    Attributes
    ----------
    planned : tuple of int
        Batch sizes of one epoch.
    trained : mapping of int to sequence of int
        Epoch to the samples of each of its steps.
    """

    planned: tuple[int, ...]
    trained: Mapping[int, Sequence[int]]


@needs("train", says=("Training.samples",))
def passes(bench: Bench) -> Passes:
    """Count the samples of each step of two epochs, by their digests."""
    run = both_epochs(bench)
    require_seen(run.steps, "no training step was recorded (Training.steps)")
    counts = _samples(run)
    require_seen(
        any(counts), "it is not said what a step trained on (Training.samples, or consumed)"
    )
    trained: dict[int, list[int]] = {1: [], 2: []}
    for step, count in zip(run.steps, counts, strict=False):
        trained.setdefault(step.epoch, []).append(count)
    return Passes(planned_sizes(bench.config, bench.trained.description), trained)


def _samples(run: Training) -> list[int]:
    """Return how many samples each step trained on."""
    if run.samples:
        return [len(digests) for digests in run.samples]
    if not run.consumed:
        return []
    # Digests of what was computed on come once, or once for each arch: as the first step has it.
    archs = max(len(run.steps[0].archs), 1)
    each = archs if _repeats(run.consumed[0], archs) else 1
    return [len(digests) // each for digests in run.consumed]


def _repeats(digests: Sequence[str], times: int) -> bool:
    """Return whether digests are the same ones, so many times over."""
    size = max(len(digests) // times, 1)
    return tuple(digests) == tuple(digests[:size]) * times


def passes_are_trained_whole(evidence: Passes) -> Outcome:
    """Require the steps of an epoch to train on as many samples as a pass over the split has.

    More may be: a split that is passed over several times, or a second set beside it.
    """
    wanted, violations = sum(evidence.planned), []
    for epoch, counts in evidence.trained.items():
        if sum(counts) < wanted:
            sizes = " + ".join(map(str, counts)) or "no step"
            violations.append(
                Violation(
                    f"epoch {epoch}, samples in its steps",
                    f"{wanted} ({' + '.join(map(str, evidence.planned))})",
                    f"{sum(counts)} ({sizes})",
                )
            )
    seen = sum(map(sum, evidence.trained.values()))
    figures = f"{wanted} samples in the steps of each of {len(evidence.trained)} epochs"
    return outcome(violations, min(seen, wanted), figures)


WHOLE_PASSES = Promise(
    id="passes-trained-whole",
    sentence="every sample of a pass is in a step, those that fill no whole step too",
    evidence=passes,
    check=passes_are_trained_whole,
    hint=(
        "Gradients of the last micro-batches of a pass are dropped, or go on into the next one: an "
        "optimizer that steps every so many batches has to step at the end of the pass as well. "
        "Where a last batch is left out by design, declare drop_last."
    ),
    explained_by=("ledger-steps-planned",),
)
