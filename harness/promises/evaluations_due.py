"""An evaluation is made after every epoch of which it is due, and after no other."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.ledger.plan import is_logged
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome, require_seen
from harness.promises.recorded_run import with_epoch_log
from harness.wording import counted

__all__ = ["EVALUATIONS_DUE", "SparseEvaluations", "evaluations_are_due", "sparse_evaluations"]

_EPOCHS, _EVERY = 4, 3  # no smaller period, and no half of one, comes to the same


@dataclass(frozen=True)
class SparseEvaluations:
    """After how many epochs an evaluation is due, and each epoch with whether it was scored.

    Of a run that was restored after its first epoch, if ``resumed``, without that epoch.
    """

    every: int
    scored: Sequence[tuple[int, bool]]
    resumed: bool = False


@needs("train", "evaluate", says=("Training.epochs",))
def sparse_evaluations(bench: Bench) -> SparseEvaluations:
    """Train four epochs of which every third one is to be evaluated, resumed after the first.

    Raises
    ------
    NotApplicableError
        If the system evaluates after every epoch and cannot do otherwise, or logs no score.
    """
    due = bench.settable("eval", {"eval_every_epoch": _EVERY})
    if not due:
        msg = "the system evaluates every so many epochs alone (describe()['settings'])"
        raise NotApplicableError(msg)
    # The pool stays: a system may want so many archs at least.
    few = bench.settable("eval", {"eval_batches_per_arch": 1, "bn_recal_batches": 1})
    train = bench.settable("train", {"num_epochs": _EPOCHS, "steps_per_epoch": 1})
    with bench.open(train=train, eval={**few, **due}) as system:
        resumed = bench.describe().can.issuperset(("save", "restore"))
        if resumed:
            # Its own row is left out: whoever evaluates where a call ends does so at the cut.
            with_epoch_log(system.train(1))
            system.save(str(bench.folder / "sparse"))
            system.restore(str(bench.folder / "sparse"))
        rows = with_epoch_log(system.train(_EPOCHS)).epochs
    require_seen(rows, "no row of an epoch was logged (Training.epochs)")
    if not any(is_logged(row, "mean_epe_12") for row in rows):
        msg = "the system's epoch log has no score (mean_epe_12)"
        raise NotApplicableError(msg)
    scored = tuple((r.epoch, r.mean_epe_12 is not None) for r in rows)
    return SparseEvaluations(_EVERY, scored, resumed)


def evaluations_are_due(evidence: SparseEvaluations) -> Outcome:
    """Require scores in the rows of the epochs that ``eval.eval_every_epoch`` divides alone."""
    said, after = {True: "scores", False: "none"}, ", after a resume" if evidence.resumed else ""
    violations = [
        Violation(f"epoch {epoch}, evaluated every {evidence.every} epochs{after}",
                  said[epoch % evidence.every == 0], said[scored])
        for epoch, scored in evidence.scored
        if scored != (epoch % evidence.every == 0)
    ]  # fmt: skip
    made = sum(scored for _, scored in evidence.scored)
    figures = f"{counted(made, 'evaluation')} in {counted(len(evidence.scored), 'epoch')}"
    figures += ", resumed after another" if evidence.resumed else ""
    return outcome(violations[:6], len(evidence.scored), figures)


EVALUATIONS_DUE = Promise(
    id="evaluations-due",
    sentence="an evaluation follows each epoch that eval.eval_every_epoch divides, and no other",
    evidence=sparse_evaluations,
    check=evaluations_are_due,
    hint=(
        "Epochs are counted from 0 in one place and from 1 in another: the first epoch is scored "
        "in place of the last, and the final weights never are; or they are counted from a resume."
    ),
)
