"""What is broken for a reason of its own is no consequence; what a finished run does at its end
is no gap of its checkpoint."""

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from harness.digest import state_digests
from harness.promises import training
from harness.promises.checkpoint import (
    CheckpointPair,
    checkpoint_pair,
    checkpoint_restores_everything,
)
from harness.promises.judge import judge_evidence
from harness.promises.registry import AREA_OF, PROMISES
from harness.promises.roots import find_roots
from harness.promises.training import TwoWays, with_and_without
from harness.systems.protocol import Description, Training
from tests.promise_evidence_resume import RESUMED
from tests.promise_evidence_scores import HONEST


def roots(**evidence):
    """Return the roots of what broke, and what follows from each."""
    found = find_roots(
        [judge_evidence(PROMISES[n.replace("_", "-")], lambda e=e: e) for n, e in evidence.items()],
        AREA_OF,
    )
    return {r.judgement.promise.id: [j.promise.id for j in r.consequences] for r in found}


def scored(change):
    """Return scores that are changed, each by its place in its batch."""
    rows = [(*row[:5], tuple(map(change, row[5]))) for row in HONEST.rows]
    return replace(HONEST, rows=rows)


def test_unknown_flow_that_is_scored_follows_from_no_wrong_score():
    halved = scored(lambda epe: epe / 2)
    entered = scored(lambda epe: epe + 2e7)
    apart = {"metric-recomputed": [], "unknown-flow-unscored": []}
    assert roots(metric_recomputed=halved, unknown_flow_unscored=entered) == apart
    below = {"metric-recomputed": ["unknown-flow-unscored"]}
    assert roots(metric_recomputed=halved, unknown_flow_unscored=halved) == below
    assert roots(metric_recomputed=entered, unknown_flow_unscored=entered) == below


# ---- training with evaluation and without

LOST = replace(RESUMED, restored=RESUMED.restored | {"w": "0"})
INCOMPLETE = CheckpointPair({"w": "1"}, {"w": "9"}, {"w": "9"})


def ways(kind):
    return TwoWays("with", "without", ({"w": "1"}, {"w": "2"}), (Training(), Training()), kind)


def test_an_evaluation_that_interferes_follows_from_no_checkpoint():
    gap = {"resume_exact": LOST, "checkpoint_complete": INCOMPLETE}
    assert roots(**gap, train_unobserved=ways("interferes")) == {
        "resume-exact": ["checkpoint-complete"], "train-unobserved": [],
    }  # fmt: skip
    assert roots(**gap, train_unobserved=ways("")) == {
        "resume-exact": ["checkpoint-complete", "train-unobserved"],
    }  # fmt: skip


class Counting:
    """Each training adds to the weight; an evaluation does too, where it interferes."""

    def __init__(self, *, interferes, restores):
        self.interferes, self.restores, self.weight, self.trained = interferes, restores, 0, 0

    def train(self, epochs, evaluate=True, observe=True):
        self.weight += epochs + (1 if evaluate and self.interferes else 0)
        self.trained += 1
        return Training()

    def state(self):
        return {"w": np.array(self.weight)}


@pytest.mark.parametrize(
    ("interferes", "restores", "kind", "trainings"),
    [(False, True, "", 1), (True, True, "interferes", 2), (False, False, "", 2)],
)
def test_what_was_not_restored_is_told_from_what_interferes(interferes, restores, kind, trainings):
    system = Counting(interferes=interferes, restores=restores)
    straight = Counting(interferes=interferes, restores=True)
    straight.train(2)
    trained = SimpleNamespace(
        end_state=state_digests(straight.state()), first=Training(), second=Training()
    )

    @contextlib.contextmanager
    def at(state):
        assert state == "start"
        system.weight = 0 if system.restores else 7
        yield system

    found = with_and_without(SimpleNamespace(trained=trained, at=at))
    assert (found.kind, system.trained) == (kind, trainings)
    broken = bool(training.same_training(found).violations)
    assert broken == (interferes or not restores)


# ---- a finished run


class Finished:
    """Restores what it saved, but for what `forgets` names; a finished run draws once more."""

    def __init__(self, forgets=(), draws=()):
        self.forgets, self.draws, self.arrays, self.saved = forgets, draws, {}, {}

    def state(self, changes=None):
        self.arrays.update(changes or {})
        return dict(self.arrays)

    def restore(self, path):
        kept = {n: a for n, a in self.saved[path].items() if n not in self.forgets}
        self.arrays.update(kept)
        if path == "end":
            self.arrays.update({name: self.arrays[name] + 1 for name in self.draws})


def complete(**how):
    """Return what a checkpoint's promise says of a run of two epochs."""
    system = Finished(**how)
    for number, path in enumerate(("start", "cut", "end")):
        names = ("w", "progress/random/torch", "progress/best")
        system.saved[path] = {name: np.array(1.0 + number) for name in names}
        system.arrays = dict(system.saved[path])
    digests = {path: state_digests(arrays) for path, arrays in system.saved.items()}
    trained = SimpleNamespace(
        paths={p: p for p in system.saved}, description=Description("n", frozenset()),
        start_state=digests["start"], cut_state=digests["cut"], end_state=digests["end"],
    )  # fmt: skip

    @contextlib.contextmanager
    def at(state):
        system.restore(state)
        yield system

    pair = checkpoint_pair(SimpleNamespace(trained=trained, at=at))
    return [str(v) for v in checkpoint_restores_everything(pair).violations]


def test_a_finished_run_may_draw_once_more():
    assert complete() == []
    assert complete(draws=("progress/random/torch",)) == []


@pytest.mark.parametrize(
    "how",
    [
        {"forgets": ("progress/random/torch",)},
        {"forgets": ("w",)},
        {"forgets": ("progress/best",), "draws": ("progress/random/torch",)},
        {"draws": ("progress/best",)},
        {"draws": ("w",)},
    ],
)
def test_a_gap_of_a_checkpoint_is_told_in_a_finished_run_too(how):
    (text,) = complete(**how)[:1]
    assert text.startswith("restored ")
