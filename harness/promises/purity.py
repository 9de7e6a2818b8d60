"""An evaluation changes nothing."""

import dataclasses
import re
from dataclasses import dataclass
from itertools import zip_longest

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.promise import (
    EACH_TIME,
    Digests,
    Outcome,
    Promise,
    Violation,
    grouped_differences,
    needs,
    outcome,
)
from harness.promises.states import START
from harness.systems.protocol import System, digests_of
from harness.wording import counted, shortened

__all__ = ["EVAL_PURE", "Purity", "evaluation_changes_nothing", "purity"]


@dataclass(frozen=True)
class Purity:
    """Complete state, and the next training draws, before and after an evaluation.

    The draws are None where the system cannot be asked for them: its state is judged alone.
    """

    before: Digests
    after: Digests
    draws_before: tuple[str, ...] | None
    draws_after: tuple[str, ...] | None


@needs("state", "evaluate")
def purity(bench: Bench) -> Purity:
    """Take the complete state and the next epoch's draws around an evaluation, and one of an arch.

    Before any training: what an evaluation leaves behind then is not yet there already.
    """
    with bench.at(START) if bench.trainable else bench.scored() as system:
        # The draws too: EdgeFlowNAS (8f83824) evaluated with the training provider, whose
        # generator then stood elsewhere while every variable was the same.
        before, draws_before = digests_of(system), _upcoming_draws(bench, system)
        whole = system.evaluate()
        # A part of the pool may go another way, as a search does that asks for archs of its own.
        system.evaluate(whole.archs[-1:])
        draws_after = _upcoming_draws(bench, system)
        after = digests_of(system)
    return Purity(before, after, draws_before, draws_after)


def _upcoming_draws(bench: Bench, system: System) -> tuple[str, ...] | None:
    """Return the digests of the next epoch's batches; None of a system that cannot be asked."""
    if "batches" not in bench.describe().can:
        return None
    try:
        served = tuple(batch.digest for batch in system.batches("train", epoch=3))
    except NotApplicableError:
        return None
    # Of somebody else's the state alone is judged then; ours serves some.
    return served or (None if bench.spec.foreign else ())


def evaluation_changes_nothing(evidence: Purity) -> Outcome:
    """Require the complete state and the next training draws unchanged by an evaluation."""
    violations = grouped_differences(evidence.before, evidence.after, what="state after eval")
    why = _why(evidence)
    kind = EACH_TIME if why == _DRAWS_MOVED else "state"
    violations = [dataclasses.replace(v, found=f"{v.found}{why}", kind=kind) for v in violations]
    before, after = evidence.draws_before, evidence.draws_after
    if before is None and after is None:
        arrays = counted(len(evidence.before), "array")
        figures = f"{arrays} unchanged; training draws cannot be asked for"
        return outcome(violations, len(evidence.before), figures)
    before, after = before or (), after or ()
    for index, (old, new) in enumerate(zip_longest(before, after, fillvalue="no batch")):
        if old != new:
            what = f"{shortened(new)}: the evaluation moved what training draws from"
            violations.append(
                Violation(f"next training epoch, batch {index}", shortened(old), what, EACH_TIME)
            )
    arrays = counted(len(evidence.before), "array")
    figures = f"{arrays} and {counted(len(before), 'upcoming training batch')} unchanged"
    return outcome(violations, min(len(evidence.before), len(before)), figures)


_DRAWING = re.compile(r"rng|random|generator|cursor|provider", re.IGNORECASE)


_DRAWS_MOVED = ": what training draws from has moved, and no weight or statistic"


def _why(evidence: Purity) -> str:
    """Return what moved, if it was nothing but what training draws from."""
    before, after = evidence.before, evidence.after
    moved = [n for n in before.keys() | after.keys() if before.get(n) != after.get(n)]
    if all(n.startswith("progress/") and _DRAWING.search(n) for n in moved):
        return _DRAWS_MOVED
    if all(n.startswith("progress/") for n in moved):
        return ": counters alone have moved, and no weight or statistic"
    return ""


EVAL_PURE = Promise(
    id="eval-pure",
    sentence="an evaluation changes no variable, statistic, counter or draw",
    evidence=purity,
    check=evaluation_changes_nothing,
    hint="Evaluation shares something with training: a provider, a generator, or BN statistics.",
    tier="smoke",
)
