"""Each finding about an answer of an adapter, by its words; the calls themselves are elsewhere."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.fc2.synthetic import write_dataset
from harness.promises import adapter_batches as batches
from harness.promises import adapter_findings as findings
from harness.promises.setting import matrix_config
from harness.records.records import StepRecord
from harness.systems.protocol import Description, Evaluation, Recalibration, ServedBatch, Training

ABOUT = Description("n", frozenset({"describe", "open", "train"}))
KERNEL = np.ones((3, 3, 2, 2))
STATE = {"a/kernel": KERNEL, "progress/step": np.array(3)}
SCORES = Evaluation(("a", "b"), (1.0, 2.0), {"a": (1.0, 1.0), "b": (2.0, 2.0)}, 1.5, 3.0, "h")
STEP = StepRecord(1, 1, ("a",), "d0", 0.1, 2.0, 0, 0, 0.0)
RUN = Training(steps=(STEP, replace(STEP, step=2, batch="d1")))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    write_dataset(folder, train=3, val=2, height=19, width=37)
    return matrix_config(folder).model_dump(mode="json", by_alias=True)


def batch(**changes):
    """Return a batch of three samples, 16 x 32 px, in which nothing is wrong."""
    shape, rng = (3, 16, 32), np.random.default_rng(len(changes))
    window = (1, 2, 16, 32)
    made = ServedBatch(
        tuple(f"{i:07d}" for i in range(3)), (window,) * 3,
        rng.integers(0, 255, (*shape, 6), np.uint8), np.ones((*shape, 2), np.float32),
        np.ones(shape, bool), None, "d",
    )  # fmt: skip
    return replace(made, **changes)


def texts(found):
    return [finding.text for finding in found]


def served(tree, *made, role="train"):
    return texts(batches.served(made, tree, ABOUT, role))


def test_nothing_is_found_where_nothing_is_wrong(tree):
    assert served(tree, batch()) == []
    assert texts(findings.stated(ABOUT, STATE)) == []
    assert texts(batches.evaluated(SCORES)) == []
    assert texts(batches.trained(RUN, ["d0", "d1"])) == []
    assert texts(batches.trained(RUN, None)) == []
    assert texts(findings.predicted([KERNEL[:, :, :, :2]], (3, 3, 2, 6))) == []
    assert texts(findings.scored(np.array([0.0, 1.0]), 2)) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"valid": np.zeros((3, 16, 32), bool), "flow": np.zeros((3, 16, 32, 2), np.float32)},
         "no pixel of any batch has a known flow"),
        ({"valid": np.zeros((3, 16, 32), bool)}, "batch 0: flow is not 0 where it is unknown"),
        ({"windows": ((16, 32, 1, 2),) * 3},
         "batch 0: expected (top, left, height, width) of its crop, found (16, 32, 1, 2)"),
        ({"windows": ((-1, 0, 16, 32),) * 3}, "found (-1, 0, 16, 32)"),
        ({"ids": ("0000000", "0000001", "0000003")}, "found '0000003'"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_batch_is_named(changes, text, tree):
    assert any(text in one for one in served(tree, batch(**changes)))


def test_batches_of_other_samples_have_other_digests(tree):
    first, other = batch(), batch(digest="d", flow_clip=None)
    assert "batches of other samples have the same digest" in served(tree, first, other)
    assert served(tree, first, first) == []  # the same samples once more


def test_a_batch_of_no_sample_is_named(tree):
    none = batch(ids=(), windows=(), frames=np.zeros((0, 16, 32, 6), np.uint8))
    assert served(tree, batch(), none) == ["batch 1 for 'train' has no sample"]


def test_no_batch_is_said_so_by_its_role(tree):
    assert served(tree, role="eval") == ["no batch was served for 'eval'"]


def test_whole_frames_are_no_wrong_crop(tree):
    about = replace(ABOUT, settings={"eval.crop": "frame"})
    large = batch(
        frames=np.full((3, 19, 37, 6), 9, np.uint8), flow=np.ones((3, 19, 37, 2), np.float32),
        valid=np.ones((3, 19, 37), bool), windows=((0, 0, 19, 37),) * 3,
        ids=("1000000", "1000001", "1000000"),
    )  # fmt: skip
    assert texts(batches.served([large], tree, about, "eval")) == []
    assert "found 19 x 37" in texts(batches.served([large], tree, ABOUT, "eval"))[0]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({}, "found none"),
        ({**STATE, "b": np.array([np.nan])}, "'b' hold NaN or infinity right after open()"),
        ({"a": np.ones(3), "progress/step": np.array(1)}, "no array has four axes"),
        ({**STATE, **{f"bn{i}.running_var": np.ones(2) for i in range(5)}},
         "'bn0.running_var', 'bn1.running_var', 'bn2.running_var' and 2 more: moving"),
    ],
)  # fmt: skip
def test_what_a_state_lacks_is_named(state, text):
    assert any(text in one for one in texts(findings.stated(ABOUT, state)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slots", {"a/kernel": ("a/m", "progress/step")}), ("options", [[("a/m",)]]),
        ("option_arrays", [[("a/m",)]]),
    ],
)  # fmt: skip
def test_a_name_that_no_array_has_is_told_with_its_place(field, value):
    (found,) = findings.stated(replace(ABOUT, **{field: value}), STATE)
    assert found.text.startswith(f"describe().{field}")
    assert "names 'a/m', which is no array of state()" in found.text
    assert found.advice == "state() has 'a/kernel', 'progress/step'"


def test_an_assignment_that_moves_others_is_named():
    after = {"a/kernel": KERNEL + 1, "progress/step": np.array(4)}
    (found,) = findings.assigned(STATE, "a/kernel", KERNEL + 1, after)
    assert found.text == "state({'a/kernel': ...}) changed 'progress/step' too"


@pytest.mark.parametrize(
    ("after", "text"),
    [
        ({"a/kernel": KERNEL + 1, "progress/step": np.array(3)}, "no counter or generator"),
        ({"a/kernel": KERNEL + 1, "progress/step": np.array(4), "m": KERNEL}, "names differ"),
    ],
)
def test_what_an_epoch_should_have_moved_is_named(after, text):
    assert any(text in one for one in texts(findings.moved(STATE, after)))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"archs": (), "per_arch_epe": (), "per_sample": {}}, "no arch was scored"),
        ({"per_sample": {"a": (1.0,), "b": ()}}, "per_sample has no score of 'b'"),
        ({"per_sample": {"a": (1.0,), "b": (2.0, 2.0)}}, "on other numbers of samples: {'a': 1"),
        ({"zero_flow_epe": -1.0}, "NaN, infinite or negative"),
        ({"per_arch_epe": (3.0, 3.0)}, "every arch scores 3 px, as the all-zero flow does"),
        ({"eval_batch_hash": ""}, "eval_batch_hash is empty"),
    ],
)
def test_what_an_evaluation_lacks_is_named(changes, text):
    assert any(text in one for one in texts(batches.evaluated(replace(SCORES, **changes))))


def test_what_training_says_that_cannot_be_is_named():
    assert "a loss is NaN or infinite" in texts(
        batches.trained(replace(RUN, losses=(np.inf,)), None)
    )
    (text,) = texts(batches.trained(RUN, ["d0"]))
    assert text == "expected as many batches served as 2 steps, found 1 batch in batches('train')"


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ([], "found none"),
        ([np.ones((2, 3, 2, 2))], "output 0: expected shape (3, h, w, 2 or more)"),
        ([np.ones((3, 3, 2, 1))], "found (3, 3, 2, 1)"),
        ([np.full((3, 3, 2, 2), np.nan)], "output 0 holds NaN or infinity"),
    ],
)
def test_what_outputs_lack_is_named(outputs, text):
    assert any(text in one for one in texts(findings.predicted(outputs, (3, 3, 2, 6))))


def test_a_negative_score_is_shown():
    assert texts(findings.scored(np.array([1.0, -2.0]), 2)) == [
        "expected EPEs of 0 px or more, found [1.0, -2.0]"
    ]


@pytest.mark.parametrize(
    ("stats", "text"),
    [
        ({}, "stats is empty"),
        ({"u": (np.ones(2), np.ones(3))}, "stats['u']: expected mean and variance"),
        ({"u": (np.array([np.nan]), np.ones(1))}, "stats['u']"),
    ],
)
def test_what_recalibrated_statistics_lack_is_named(stats, text):
    (found,) = texts(findings.recalibrated(Recalibration("a", stats, {}, "h")))
    assert text in found


def test_a_checkpoint_that_is_none_is_named(tmp_path):
    assert texts(findings.saved(tmp_path / "a", [])) == ["save(path) made no folder of that name"]
    assert texts(findings.saved(tmp_path, [])) == ["save(path) left its folder empty"]
    assert texts(findings.saved(tmp_path, [Path("x")])) == []


def test_what_is_drawn_of_no_kind_is_said():
    (text,) = texts(batches.drawn("kernels", [{}, {}, {}]))
    assert text == "nothing was drawn of 'kernels'"
