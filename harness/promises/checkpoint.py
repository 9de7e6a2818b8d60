"""A checkpoint restores everything."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
from harness.promises.states import END
from harness.systems.protocol import digests_of

__all__ = [
    "CHECKPOINT_COMPLETE",
    "CheckpointPair",
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


@needs("state", "save", "restore")
def checkpoint_pair(bench: Bench) -> CheckpointPair:
    """Poison every float array, restore the checkpoint, and compare with what was saved."""
    trained = bench.trained
    with bench.at(END) as system:
        poison = {
            name: np.full_like(array, 0.123)
            for name, array in system.state().items()
            if np.asarray(array).dtype.kind == "f"
        }
        disturbed = state_digests(system.state(poison))
        system.restore(trained.paths[END])
        restored = digests_of(system)
    # Held against the state when it was saved, not before the test: the verdict would otherwise
    # depend on which promises were checked first (decision 0010).
    return CheckpointPair(
        trained.end_state, disturbed, restored, trained.start_state,
        kinds_of(trained.end_state, trained.description), frozenset(poison),
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
    weights = [n for n in untouched if n in asked and not n.startswith("progress/")]
    if weights:
        violations.append(Violation("poisoned arrays", "all but the counters", str(weights[:3])))
    return outcome(violations, poisoned, figures)


CHECKPOINT_COMPLETE = Promise(
    id="checkpoint-complete",
    sentence="a checkpoint restores every variable, slot and counter",
    evidence=checkpoint_pair,
    check=checkpoint_restores_everything,
    hint="An array that keeps its poisoned value is missing from the checkpoint.",
    explained_by=("resume-exact",),
)
