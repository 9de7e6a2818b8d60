"""What is trained on does not depend on how many threads load it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.candidates import order_instead
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome, require_seen
from harness.wording import counted

__all__ = ["LOADER_THREADS_UNSEEN", "LoadedBatches", "loaded_batches", "threads_are_unseen"]

_THREADS = (0, 3)


@dataclass(frozen=True)
class LoadedBatches:
    """Batch digests of an epoch's steps, as configured and under other numbers of threads."""

    configured: Sequence[str]
    others: Mapping[int, Sequence[str]]


@needs("train")
def loaded_batches(bench: Bench) -> LoadedBatches:
    """Train the first epoch under several numbers of loader threads.

    Raises
    ------
    NotApplicableError
        If the system loads with one number of threads alone.
    """
    own = int(bench.config["data"].get("num_workers", 2))
    if not bench.settable("data", {"num_workers": 0}):
        msg = "the system loads with one number of threads alone (describe()['settings'])"
        raise NotApplicableError(msg)
    found: dict[int, Sequence[str]] = {}
    for threads in dict.fromkeys((own, *_THREADS)):
        few = {"eval_batches_per_arch": 1, "bn_recal_batches": 1}
        with bench.open_cheaply(few, data={"num_workers": threads}) as system:
            run = system.train(1, evaluate=False)
        require_seen(run.steps, "no training step was recorded (Training.steps)")
        found[threads] = tuple(step.batch for step in run.steps)
    return LoadedBatches(found.pop(own), found)


def threads_are_unseen(evidence: LoadedBatches) -> Outcome:
    """Require the same batches in the same order, whatever number of threads loads them."""
    own = list(evidence.configured)
    violations = [
        Violation(f"training batches under {counted(threads, 'loader thread')}",
                  "those of the configured number", f"others{order_instead(own, list(found))}")
        for threads, found in evidence.others.items()
        if list(found) != own
    ]  # fmt: skip
    numbers = ", ".join(map(str, evidence.others))
    figures = f"{counted(len(own), 'batch')} alike under {numbers} loader threads"
    return outcome(violations, len(own) if evidence.others else 0, figures)


LOADER_THREADS_UNSEEN = Promise(
    id="loader-threads-unseen",
    sentence="training draws the same batches, in order, whatever number of threads loads them",
    evidence=loaded_batches,
    check=threads_are_unseen,
    hint=(
        "Without loader threads, or with more of them, batches come from other code: whoever "
        "changes data.num_workers for speed changes the run."
    ),
    explained_by=("train-draws-declared:draws", "drawn-as-served", "resume-exact:draws"),
)
