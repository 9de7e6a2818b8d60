"""What a run keeps and announces, by its ledger: over resumes, segments and versions."""

import dataclasses
import json
import re
from dataclasses import replace

import pytest

from harness.digest import digest_strings
from harness.promises.ledger.registry import LEDGER_PROMISES as OFFLINE
from harness.records.records import ResumeRecord, RunRecord
from harness.records.seals import seal_of
from harness.runs.identity import recorded_identities
from tests.ledger_runs import announced, each, resealed, scored
from tests.test_ledger_promises import judged


def in_segments(first, second, *, epoch):
    """Return the second run as a segment that goes on after an epoch of the first."""
    later = {
        kind: tuple(r for r in getattr(second, kind) if r.epoch > epoch)
        for kind in ("steps", "norms", "evals", "epochs", "checkpoints")
    }
    resume = ResumeRecord(2, epoch, 0, 3 * epoch, "d")
    before = {
        kind: tuple(r for r in getattr(first, kind) if r.epoch <= epoch)
        for kind in ("steps", "norms", "evals", "epochs", "checkpoints")
    }
    start = {"segment": "b", "start": (epoch, 3 * epoch), "resumes": (resume,)}
    return replace(second, before=replace(first, **before), notes=(), **start, **later)


FORGETS = {"checkpoint": {"reset_early_stop_on_resume": True}}
WORSE = scored(5.0, 5.1, 5.2, 4.9)
STOPPED = {
    "by patience": (scored(5.0, 4.9, 4.7, 4.7, 4.6, stop=5), []),
    "not yet resumed": (scored(5.0, 4.9, 4.7, 4.7, 4.6), []),
    "reset by a resume": (
        replace(scored(5.0, 5.0, 5.0, 5.0, stop=3, **FORGETS),
                resumes=(ResumeRecord(2, 3, 0, 9, "d"),)), []),
    "reset before it": (
        replace(scored(5.0, 5.0, 5.0, 5.0, stop=3, **FORGETS),
                resumes=(ResumeRecord(2, 2, 0, 6, "d"),)),
        ["early stop after epoch 3: expected 2 evaluations without an improvement, found 0"]),
    "resumed without a reset": (
        replace(scored(5.0, 5.0, 5.0, 5.0), resumes=(ResumeRecord(2, 3, 0, 9, "d"),)),
        ["steps of epoch 4: expected none: after epoch 3, 2 evaluations have brought no "
         "improvement, of 2, found 3"]),
    "with the patience of the segment before": (
        in_segments(WORSE, WORSE, epoch=2),
        ["steps of epoch 4: expected none: after epoch 3, 2 evaluations have brought no "
         "improvement, of 2, found 3"]),
    "in a new metric series": (replace(in_segments(WORSE, WORSE, epoch=2), protocol="b"), []),
    "with more patience in a new segment": (
        in_segments(WORSE, scored(5.0, 5.1, 5.2, 4.9, eval={"early_stop_patience": 3}), epoch=3),
        []),
    "from what is not recorded": (
        replace(in_segments(WORSE, WORSE, epoch=2), before=None), None),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPPED)
def test_patience_is_counted_over_resumes_and_segments(name):
    run, expected = STOPPED[name]
    assert judged("ledger-patience-kept", run) == expected
    # Its pointer knows of neither a reset nor another series.
    if not re.search("reset by|before it|metric series", name):
        assert judged("ledger-best-checkpoint", run) == []


MOVED = each("checkpoints", scored(5.0, 4.0, 4.5), best="")


def test_a_best_that_a_resume_made_void_may_be_gone_until_a_score_is_better():
    one = replace(MOVED, checkpoints=MOVED.checkpoints[2:])
    void = replace(one, resumes=(ResumeRecord(2, 2, 0, 6, "d"),))
    assert judged("ledger-best-checkpoint", void) == []
    again = replace(one, resumes=(ResumeRecord(2, 1, 0, 3, "d"),))
    assert len(judged("ledger-best-checkpoint", again)) == 1


def test_a_best_from_before_what_is_recorded_is_not_judged():
    run = replace(in_segments(WORSE, WORSE, epoch=2), before=None)
    elsewhere = each("checkpoints", run, best="epoch-0001-step-00000-attempt-1")
    assert judged("ledger-best-checkpoint", elsewhere) == []


def test_a_best_epe_from_before_what_is_recorded_is_no_breach():
    run = replace(in_segments(WORSE, WORSE, epoch=2), before=None)
    lowest = run.epochs[0].mean_epe_12
    lower = each("epochs", run, best_epe=lowest - 1)
    assert judged("ledger-best-tracked", lower) == []
    assert len(judged("ledger-best-tracked", each("epochs", run, 0, best_epe=lowest + 1))) >= 1
    assert judged("ledger-best-tracked", replace(lower, start=(0, 0))) != []


FIELDS = {
    "attempt": 3, "config": {**announced().openings[0].config, "watch": {}},
    "environment": {}, "train_samples": 13, "val_samples": 8, "batch_size": 4,
    "micro_batch_size": 3, "planned_sizes": ((5, 2), (3, 1)), "expected_clip_checks": 25,
    "identity": "", "segment": "other", "protocol": "p", "data": {}, "seal": "s",
    "code": {"commit": "other"},
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(RunRecord)])
def test_each_field_of_the_first_line_is_told_when_it_alone_is_changed(name):
    assert judged("ledger-opening-follows", announced(**{name: FIELDS[name]}))


def test_samples_without_number_are_told_and_no_list_is_made_of_their_steps():
    # 8 TB of steps, which the first line may say as well as seven.
    assert judged("ledger-opening-follows", announced(train_samples=2**40))


def test_a_key_of_a_later_version_is_no_part_of_an_older_identity():
    own = announced().openings[0]
    older = {**own.config, "eval": {k: v for k, v in own.config["eval"].items() if k != "crop"}}
    identity, protocol = recorded_identities(older, own.data)
    assert (identity, protocol != own.protocol) == (own.identity, True)
    assert judged("ledger-opening-follows", resealed(config=older, protocol=protocol)) == []
    unknown = {**own.config, "train": {**own.config["train"], "of_tomorrow": 1}}
    found = OFFLINE["ledger-opening-follows"].check(resealed(config=unknown))
    assert found.violations == ()
    assert "unknown key `train.of_tomorrow`" in found.warnings[0]


def test_a_field_of_a_later_version_leaves_seals_as_they_are():
    own = announced().openings[0]
    assert own.segment == "main"
    assert own.code == {}
    later = ("seal", "segment", "code")
    without_it = {k: v for k, v in dataclasses.asdict(own).items() if k not in later}
    text = json.dumps(without_it, sort_keys=True)
    assert seal_of(own) == own.seal == digest_strings([text])
