"""What a run keeps: best and last, and as many other checkpoints as it is configured to."""

from collections.abc import Iterator, Sequence

from harness.promises.kept_run import KeptRun, Saved, kept_by_stores
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.wording import counted

__all__ = ["CHECKPOINTS_KEPT", "checkpoints_are_kept"]

_MOST = 6


def checkpoints_are_kept(evidence: Sequence[KeptRun]) -> Outcome:
    """Require after each save what the setting keeps, and ``best`` and ``last`` as recorded."""
    violations, saves = list[Violation](), 0
    for run in evidence:
        saves += len(run.saves)
        found = list(_unkept(run))
        violations += found[:_PER_RUN]
        if len(run.saves) != run.due:
            where = f"{_run_text(run)}, saves until the run ends by itself"
            violations.append(Violation(where, str(run.due), str(len(run.saves))))
        violations += [
            Violation(f"{_run_text(run)}, {name}", "left alone, no checkpoint of the run", "gone")
            for name in run.gone
        ]
    settings = ", ".join(str(run.keep_latest) for run in evidence)
    figures = f"{counted(saves, 'save')} with keep_latest {settings}: best and last load as saved"
    fewest = min((len(run.saves) for run in evidence), default=0)
    return outcome(violations[:_MOST], fewest, figures, without="a run that saved no checkpoint")


_PER_RUN = 3


CHECKPOINTS_KEPT = Promise(
    id="checkpoints-kept",
    sentence="best and last load as saved, and checkpoint.keep_latest others are kept",
    evidence=kept_by_stores,
    check=checkpoints_are_kept,
    hint=(
        "Clearing old checkpoints takes one that is still needed, or none; or `best` and `last` "
        "lead to another checkpoint than the one that was saved as such."
    ),
    explained_by=("ledger-best-checkpoint", "ledger-patience-kept", "checkpoint-verified"),
)


def _run_text(run: KeptRun) -> str:
    return f"keep_latest {run.keep_latest}"


def _unkept(run: KeptRun) -> Iterator[Violation]:
    there: list[Saved] = []
    best: Saved | None = None
    for save in run.saves:
        lowest = None if best is None else best.metric
        if save.metric is not None and (lowest is None or save.metric < lowest):
            best = save
        there.append(save)
        where = f"{_run_text(run)}, after saving {save.name}"
        there = _kept(there, best, run.keep_latest)
        due = {one.name for one in there}
        for name in sorted(due - set(save.there)):
            yield Violation(f"{where}, {name}", f"kept: {_reason(name, save, best)}", "gone")
        for name in sorted(set(save.there) - due):
            yield Violation(f"{where}, {name}", "removed", "still there")
        for which, found, one in (("last", save.last, save), ("best", save.best, best)):
            if one is not None and found != one.digest:
                expected = f"{one.name}, {one.digest}"
                yield Violation(f"{where}, `{which}`", expected, _loaded_text(found, run))


def _kept(there: Sequence[Saved], best: Saved | None, keep_latest: int) -> list[Saved]:
    """Return what is kept of the checkpoints that are there, the oldest first."""
    last = there[-1]
    # A new segment starts at the end of the epoch before.
    ends = [one for one in there if (one.epoch, one.step) == (last.epoch, 0)]
    latest = there[-keep_latest:] if keep_latest else ()
    needed = {one.name for one in (last, *latest, *ends[-1:], *([best] if best else []))}
    return [one for one in there if one.name in needed]


def _reason(name: str, last: Saved, best: Saved | None) -> str:
    if name == last.name:
        return "it is the last"
    if best is not None and name == best.name:
        return f"it is the best, {best.metric:.6g} px"
    return "it is one of the newest, or the end of the epoch before"


def _loaded_text(found: str, run: KeptRun) -> str:
    names = [save.name for save in run.saves if save.digest == found]
    return f"{names[0]}, {found}" if names else found
