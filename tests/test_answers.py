"""What a foreign system's answer must be, by the records' own type hints."""

from dataclasses import MISSING, fields

import numpy as np
import pytest

from harness.records.records import NOT_LOGGED, EpochRecord
from harness.systems.answers import AnswerError, answer

BATCH = {
    "ids": ["a", "b"], "windows": [[0, 0, 4, 6], [1, 1, 4, 6]],
    "frames": np.zeros((2, 4, 6, 6), np.uint8), "flow": np.zeros((2, 4, 6, 2), np.float32),
    "valid": np.ones((2, 4, 6), bool), "flow_clip": None, "digest": "d",
}  # fmt: skip
STEP = {
    "epoch": 1, "step": 1, "archs": ["a"], "batch": "d", "lr": 1, "loss": 0.5, "checks": 0,
    "clipped": 0, "norm": 1.0,
}  # fmt: skip
ROW = {
    f.name: 1 for f in fields(EpochRecord) if f.default is MISSING and f.default_factory is MISSING
} | {"eval_batch_hash": "e", "bn_recal_batch_hash": "r"}
SCORES = {
    "archs": ["a"], "per_arch_epe": [1.0], "per_sample": {"a": [1.0]}, "mean_epe": 1.0,
    "zero_flow_epe": 0.0, "eval_batch_hash": "",
}  # fmt: skip


def batch(**changes):
    return "batches", [{**BATCH, **changes}]


def steps(**changes):
    return "train", {"steps": [{**STEP, **changes}]}


FRAMES, FLOW, VALID = (BATCH[name] for name in ("frames", "flow", "valid"))
WRONG = [
    (batch(frames=FRAMES[..., :3]), r"\[0\]\.frames: expected shape \(2, 4, 6, 6\)"),
    (batch(flow=FLOW.astype(float)), r"\.flow: expected an array of float32, found an array of f"),
    (batch(valid=VALID.astype("u1")), r"\.valid: expected an array of bool"),
    (batch(windows=[[0, 0, 4, 6]]), r"\.windows: expected one for each of 2 ids"),
    (batch(windows=[[0, 0, 4], [0, 0, 4]]), r"\.windows\[0\]: expected 4 items"),
    (batch(flow_clip="no"), r"\.flow_clip: expected float.*found str 'no'"),
    (
        ("describe", {"name": "a", "can": [], "epe_epsilon": 1e4}),
        r"\.epe_epsilon: expected 0 to 0\.0001 px\^2, .* found float 10000\.0",
    ),
    (
        (
            "describe",
            {"name": "a", "can": [], "options": [[["k"], ["l"]]], "option_arrays": [[["m"]]]},
        ),
        r"\.option_arrays: expected a list for each option .*, \[2\] .*, found list \[1\]",
    ),
    (
        ("train", {"epochs": [{**ROW, "reasons": {"clip_checks": NOT_LOGGED}}]}),
        r"epochs\[0\]\.clip_checks: expected null where the reason is 'not logged by this system'",
    ),
    (("batches", BATCH), r"batches\(\): expected a list of ServedBatch"),
    (steps(step=1.0), r"train\(\)\.steps\[0\]\.step: expected int, found float"),
    (steps(step=True), r"\.step: expected int, found bool"),
    (steps(kind="epoch"), r"\.steps\[0\]\.kind: expected 'step'"),
    (("train", {"records": [STEP]}), r"\.records\[0\]: expected a record with a kind, one of run"),
    (("train", {"records": [{"kind": "stepp"}]}), r"\.records\[0\]: .* found str 'stepp'"),
    (("describe", {"name": "n", "can": ["evalute"]}), r"\.can: unknown call 'evalute'"),
    (("describe", {"name": "n", "can": "evaluate"}), r"\.can: expected a list of str"),
    (("state", {"w": [1.0, 2.0]}), r"state\(\)\['w'\]: expected an array, found list"),
    (("state", {"w": np.array(["x"])}), r"\['w'\]: expected an array of numbers or bool"),
    (("score", np.zeros((2, 1))), r"score\(\): expected one axis"),
    (("predict", [np.zeros((4, 6, 2), "f4")]), r"predict\(\)\[0\]: expected four axes"),
    (("evaluate", {**SCORES, "per_arch_epe": []}), r"epe: expected a score for each of 1"),
    (("evaluate", {**SCORES, "per_sample": {}}), r"per_sample: expected the archs a"),
]


@pytest.mark.parametrize(("found", "message"), WRONG)
def test_a_field_that_is_wrong_is_named(found, message):
    with pytest.raises(AnswerError, match=message):
        answer(*found)


def test_a_right_answer_becomes_the_harness_s_own_records():
    (served,) = answer(*batch(flow=FLOW.astype(">f4")))
    assert served.windows[1] == (1, 1, 4, 6)
    assert served.flow.dtype == np.dtype(np.float32)
    assert answer("evaluate", SCORES).per_sample == {"a": (1.0,)}
    run = answer("train", {"steps": [STEP], "records": [{"kind": "step", "attempt": 1, **STEP}]})
    assert run.records == run.steps
    assert run.steps[0].lr == 1.0
    assert run.epochs == ()
