"""A checkpoint restores everything."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from harness.digest import state_digests
from harness.promises.bench import Bench
from harness.promises.kinds import kinds_of, state_differences
from harness.promises.promise import (
    Digests,
    Outcome,
    Promise,
    Violation,
    needs,
    outcome,
)
from harness.promises.saved_again import SavedAgain, saved_again, violations_of
from harness.promises.states import CUT, END, State
from harness.systems.protocol import digests_of

__all__ = [
    "CHECKPOINT_COMPLETE",
    "CheckpointPair",
    "checkpoint_case",
    "checkpoint_pair",
    "checkpoint_restores_everything",
]


@dataclass(frozen=True)
class CheckpointPair:
    """State before saving, and after restoring into a system whose state was disturbed.

    Attributes
    ----------
    saved, disturbed, restored : mapping
        Digests by array.
    start : mapping
        Digests before training.
    kinds : mapping of str to str
        Kind of each array.
    asked : frozenset of str or None
        Arrays that were to be poisoned; None: all but the counters.
    """

    saved: Digests
    disturbed: Digests
    restored: Digests
    start: Digests = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    asked: frozenset[str] | None = None
    again: SavedAgain = field(default_factory=SavedAgain)
    """What was saved and restored at unusual places."""


@needs("state", "save", "restore")
def checkpoint_case(bench: Bench) -> CheckpointPair:
    """Restore a poisoned state, a finished run, and what was saved where something was before."""
    return replace(checkpoint_pair(bench), again=saved_again(bench))


def checkpoint_pair(bench: Bench) -> CheckpointPair:
    """Poison every float array, restore the checkpoint, and compare with what was saved.

    The checkpoint of the finished run; that of epoch 1 where the two differ in generators alone.
    A finished run that is started again has nothing to train, and may do once more what it does
    at its end: a validation that draws a seed moves a generator that nobody will use.
    """
    pair = _pair(bench, END, bench.trained.end_state)
    return _pair(bench, CUT, bench.trained.cut_state) if _is_moved_by_its_end(pair) else pair


def _is_moved_by_its_end(pair: CheckpointPair) -> bool:
    names = pair.saved.keys() | pair.restored.keys()
    different = [name for name in names if pair.saved.get(name) != pair.restored.get(name)]
    return bool(different) and all(_GENERATOR.search(name) for name in different)


_COUNTERS = "progress/"
_GENERATOR = re.compile(rf"^{_COUNTERS}.*(random|rng|generator)", re.IGNORECASE)


def _pair(bench: Bench, state: State, saved: Digests) -> CheckpointPair:
    trained = bench.trained
    with bench.at(state) as system:
        poison = {
            name: np.full_like(array, 0.123)
            for name, array in system.state().items()
            if np.asarray(array).dtype.kind == "f"
        }
        disturbed = state_digests(system.state(poison))
        system.restore(trained.paths[state])
        restored = digests_of(system)
    # Held against the state when it was saved, not before the test: the verdict would otherwise
    # depend on which promises were checked first (decision 0010).
    return CheckpointPair(
        saved, disturbed, restored, trained.start_state,
        kinds_of(saved, trained.description), frozenset(poison),
    )  # fmt: skip


def checkpoint_restores_everything(evidence: CheckpointPair) -> Outcome:
    """Require every array back after the state was poisoned and a checkpoint restored."""
    # The start first: what was not poisoned (counters) may stand where a restore before left it.
    known = {"as at the start of training": evidence.start, "still poisoned": evidence.disturbed}
    violations = state_differences(
        evidence.saved, evidence.restored, what="restored", of="as saved", kinds=evidence.kinds,
        known=known,
    )  # fmt: skip
    untouched = [
        name for name, digest in evidence.saved.items() if evidence.disturbed.get(name) == digest
    ]
    poisoned = len(evidence.saved) - len(untouched)
    figures = f"{poisoned} of {len(evidence.saved)} arrays poisoned, all restored"
    # An integer is a counter under any name, such as one of batches that a layer has seen.
    asked = evidence.saved.keys() if evidence.asked is None else evidence.asked
    weights = [n for n in untouched if n in asked and not n.startswith(_COUNTERS)]
    if weights:
        violations.append(Violation("poisoned arrays", "all but the counters", str(weights[:3])))
    violations += violations_of(evidence.again)
    return outcome(violations, poisoned, figures)


CHECKPOINT_COMPLETE = Promise(
    id="checkpoint-complete",
    sentence="a checkpoint restores every variable, slot and counter",
    evidence=checkpoint_case,
    check=checkpoint_restores_everything,
    hint=(
        "An array that keeps its poisoned value is missing from the checkpoint. A save replaces "
        "what was there, or refuses, and says so if it fails; a finished run has no step left."
    ),
    explained_by=("resume-exact",),
)
