"""What an attempt continues, and what is refused: decided before anything starts."""

import json

import numpy as np
import pytest

from harness.config import field_kinds, parse_config
from harness.errors import InputError
from harness.records.ledger import LedgerContent
from harness.records.records import CheckpointRecord, ResumeRecord, RunRecord, StepRecord
from harness.runs.identity import (
    identity_changes,
    protocol_identity,
    run_identity,
)
from harness.runs.lineage import plan_first, plan_resume, refuse_another_plan
from harness.runs.unchanged import lost_end
from harness.training.checkpoint import CheckpointError, CheckpointStore
from harness.training.progress import Progress

BASE = {"train": {"batch_size": 4, "micro_batch_size": 2}, "eval": {"eval_pool_size": 5}}
DATA = {"train": "1" * 32, "val": "2" * 32}


def config(**sections):
    tree = json.loads(json.dumps(BASE))
    for section, values in sections.items():
        tree.setdefault(section, {}).update(values)
    return parse_config(tree)


CONFIG = config()


def opened(chosen=CONFIG, attempt=1, segment="main", data=DATA):
    tree = chosen.model_dump(mode="json", by_alias=True)
    return RunRecord(attempt, tree, {}, 9, 5, 4, 2, ((4, 2), (1, 1)), 15, "i" * 32, segment,
                     "p" * 32, data)  # fmt: skip


def saved(folder, epoch, step=0, *, segment="main", chosen=CONFIG, meta=None):
    counters = Progress(epoch=epoch, step=step, global_step=3 * epoch + step).get_state()
    about = {"config": chosen.model_dump(mode="json", by_alias=True), "segment": segment,
             "data": DATA, **(meta or {})}  # fmt: skip
    CheckpointStore(folder / "checkpoints").save(
        f"epoch-{epoch:04d}-step-{step:05d}-attempt-1", {"w": np.ones(3, "f4")}, counters, about
    )


@pytest.fixture
def folder(tmp_path):
    saved(tmp_path, 1)
    saved(tmp_path, 1, 2)
    return tmp_path


BEGUN = (opened(),)


def resumed(folder, chosen=CONFIG, segment=None, history=BEGUN, data=DATA):
    return plan_resume(folder, history, chosen, data, segment)


def test_an_unchanged_configuration_continues_where_it_stopped(folder):
    plan = resumed(folder)
    assert (plan.attempt, plan.segment, plan.new_segment, plan.new_series) == (
        2, "main", False, False,
    )  # fmt: skip
    assert plan.checkpoint.path.name == "epoch-0001-step-00002-attempt-1"
    assert plan.notes == ()


OTHERS = {
    "train.lr": 0.5, "train.grad_clip_global_norm": 20.0, "train.clip_position": "update",
    "train.batch_size": 6, "train.micro_batch_size": 1, "train.num_epochs": 7,
    "data.flow_clip": None, "runtime.seed": 3,
}  # fmt: skip
PROTOCOL = {
    "eval.eval_batches_per_arch": 2, "eval.bn_recal_batches": 3, "eval.crop": [64, 96],
    "eval.flow_clip": 20.0, "eval.recal_mode": "random", "eval.batch_size": 3,
    "eval.eval_pool_size": 6,
}  # fmt: skip


def keyed(key, value):
    section, name = key.split(".")
    return config(**{section: {name: value}})


@pytest.mark.parametrize("key", OTHERS)
def test_changed_dynamics_are_refused_until_a_segment_is_named(folder, key):
    chosen = keyed(key, OTHERS[key])
    message = f"cannot resume with changed training dynamics: .*{key}: .* -> .*--segment NAME"
    with pytest.raises(InputError, match=message):
        resumed(folder, chosen)
    plan = resumed(folder, chosen, "b")
    assert (plan.segment, plan.new_segment) == ("b", True)


@pytest.mark.parametrize("key", PROTOCOL)
def test_a_changed_protocol_is_refused_and_starts_a_new_metric_series(folder, key):
    chosen = keyed(key, PROTOCOL[key])
    with pytest.raises(InputError, match=f"with a changed evaluation protocol: {key}: "):
        resumed(folder, chosen)
    plan = resumed(folder, chosen, "b")
    assert plan.new_series
    assert any(f"a new metric series starts: {key}" in note for note in plan.notes)


def test_a_changed_batch_size_changes_the_default_batches_of_the_evaluation(folder):
    assert resumed(folder, config(train={"batch_size": 6}), "b").new_series
    fixed = config(train={"batch_size": 6}, eval={"batch_size": 4})
    assert not resumed(folder, fixed, "b").new_series


def test_what_only_observes_or_belongs_to_the_environment_needs_no_segment(folder):
    chosen = config(
        runtime={"experiment_name": "x", "threads": 1, "onednn": False},
        checkpoint={"every_steps": 3, "keep_latest": 9}, watch={"metric": "warn"},
        data={"base_path": "elsewhere"},
    )  # fmt: skip
    assert resumed(folder, chosen).segment == "main"


def test_other_samples_are_other_dynamics(folder):
    with pytest.raises(InputError, match=r"samples of train: 1{32} -> 3{32}"):
        resumed(folder, data=DATA | {"train": "3" * 32})
    with pytest.raises(InputError, match="a changed evaluation protocol: samples of val"):
        resumed(folder, data=DATA | {"val": "3" * 32})
    assert resumed(folder, history=[opened(data={})], data=DATA).segment == "main"


def test_a_new_segment_starts_at_an_epochs_end_and_says_what_is_void(folder):
    plan = resumed(folder, config(train={"lr": 0.5}), "b")
    assert plan.checkpoint.path.name == "epoch-0001-step-00000-attempt-1"
    assert plan.notes[0] == "segment b starts after epoch 1: 2 steps are void"


def test_a_segment_that_was_cut_before_its_first_checkpoint_starts_there_again(folder):
    chosen = config(train={"lr": 0.5})
    history = [opened(), opened(chosen, 2, "b"), ResumeRecord(2, 1, 0, 3, "x")]
    for name in (None, "b"):  # a requeued job repeats its command line
        plan = resumed(folder, chosen, name, history)
        assert (plan.attempt, plan.segment, plan.new_segment) == (3, "b", True)
        assert plan.checkpoint.path.name == "epoch-0001-step-00000-attempt-1"


def test_a_segment_in_the_first_epoch_starts_at_step_0(tmp_path):
    saved(tmp_path, 0, 2)
    plan = resumed(tmp_path, config(train={"lr": 0.5}), "b")
    assert (plan.checkpoint, plan.new_segment) == (None, True)


def test_a_new_metric_series_is_told_from_the_checkpoint_that_is_used(tmp_path):
    two = config(eval={"eval_batches_per_arch": 2})
    saved(tmp_path, 1)
    saved(tmp_path, 1, 2, segment="k2", chosen=two)
    history = [opened(), opened(two, 2, "k2"), ResumeRecord(2, 1, 0, 3, "x")]
    faster = config(train={"lr": 0.5}, eval={"eval_batches_per_arch": 2})
    assert resumed(tmp_path, faster, "c", history).new_series
    assert not resumed(tmp_path, config(train={"lr": 0.5}), "c", history).new_series


@pytest.mark.parametrize("name", ["", "  \n,x", "a/b", "x" * 61])
def test_a_segment_has_a_plain_name(folder, name):
    with pytest.raises(InputError, match="--segment: expected a name of letters"):
        resumed(folder, config(train={"lr": 0.5}), name)
    with pytest.raises(InputError, match="--segment: expected a name of letters"):
        plan_first(folder / "new", [], name)


def test_a_ledger_that_is_gone_is_said(folder):
    assert "ledger.jsonl is gone" in resumed(folder, history=()).notes[0]


def test_a_name_stands_for_one_segment(folder):
    history = [opened(), opened(config(train={"lr": 0.5}), 2, "b")]
    with pytest.raises(InputError, match="--segment main: an earlier segment"):
        resumed(folder, CONFIG, "main", history)
    with pytest.raises(InputError, match=r"changed training dynamics: train\.lr: 0\.5 -> 0\.0001"):
        resumed(folder, CONFIG, "b", history)


def test_another_net_is_refused_whatever_the_segment(folder):
    with pytest.raises(InputError, match=r"model\.width: 32 -> 8: the weights would not fit"):
        resumed(folder, config(model={"width": 8}), "b")


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(tmp_path):
    plan = resumed(tmp_path)
    assert (plan.attempt, plan.checkpoint, plan.new_segment) == (2, None, False)
    assert "starts again at step 0" in plan.notes[0]
    (tmp_path / "config.yaml").touch()
    assert resumed(tmp_path, history=()).attempt == 1


def test_checkpoints_that_have_gone_are_no_reason_to_start_again(tmp_path):
    history = [opened(), CheckpointRecord(1, 0, 3, "epoch-0001", "d" * 32)]
    with pytest.raises(CheckpointError, match="checkpoints/last: no such checkpoint pointer"):
        resumed(tmp_path, history=history)


def test_nothing_to_continue_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nothing to resume, no config\.yaml there"):
        resumed(tmp_path, history=())


def test_an_imported_checkpoint_needs_a_segment(tmp_path):
    saved(tmp_path, 2, meta={"imported_from": {"prefix": "supernet_last.ckpt"}})
    with pytest.raises(InputError, match=r"holds an imported checkpoint.*--segment NAME"):
        resumed(tmp_path, history=())
    plan = resumed(tmp_path, segment="ours", history=())
    assert (plan.attempt, plan.segment, plan.checkpoint.progress["epoch"]) == (1, "ours", 2)
    assert plan.new_series
    assert "the imported best metric is forgotten" in plan.notes[0]


def loaded(folder):
    return CheckpointStore(folder / "checkpoints").load("last")


@pytest.mark.parametrize("key", [*OTHERS, "data.input_height", "model.skeleton"])
def test_a_checkpoint_alone_is_not_gone_on_with_under_other_dynamics(folder, key):
    value = {"data.input_height": 64, "model.skeleton": "bilinear"}.get(key, OTHERS.get(key))
    message = f"step-00002-attempt-1: cannot go on with .*{key}: .* -> .*--segment NAME"
    with pytest.raises(InputError, match=message):
        refuse_another_plan(loaded(folder), keyed(key, value), DATA)
    refuse_another_plan(loaded(folder), CONFIG, DATA)


@pytest.mark.parametrize("key", PROTOCOL)
def test_a_checkpoint_is_scored_under_any_protocol(folder, key):
    refuse_another_plan(loaded(folder), keyed(key, PROTOCOL[key]), DATA)


def test_an_imported_checkpoint_has_no_plan_to_compare(tmp_path):
    saved(tmp_path, 2, meta={"imported_from": {"prefix": "supernet_last.ckpt"}})
    refuse_another_plan(loaded(tmp_path), keyed("train.lr", 0.5), DATA)


def test_a_checkpoint_of_before_samples_were_digested_is_read(tmp_path):
    saved(tmp_path, 2, meta={"data": {}})
    refuse_another_plan(loaded(tmp_path), CONFIG, DATA)


def test_a_run_is_not_begun_twice(folder, tmp_path):
    with pytest.raises(InputError, match="already holds a run; continue it with --resume"):
        plan_first(folder, [opened()], None)
    with pytest.raises(InputError, match="already holds a run"):
        plan_first(folder, [], None)
    assert plan_first(tmp_path / "new", [], "first").segment == "first"


def test_identity_and_protocol_are_generated_from_the_field_kinds():
    kinds = field_kinds()
    for key, value in {**OTHERS, **PROTOCOL}.items():
        chosen = keyed(key, value)
        dynamics = run_identity(chosen, DATA) != run_identity(CONFIG, DATA)
        protocol = protocol_identity(chosen, DATA) != protocol_identity(CONFIG, DATA)
        assert dynamics == (kinds[key] == "dynamics")
        assert protocol == (kinds[key] == "protocol" or key in ("train.batch_size", "runtime.seed"))
    assert identity_changes("dynamics", (CONFIG, DATA), (CONFIG, {})) == []


def test_a_frozen_artifact_counts_by_its_content():
    one, moved = config(eval={"frozen": "a.npz"}), config(eval={"frozen": "b.npz"})
    same = DATA | {"frozen": "f" * 32}
    assert protocol_identity(one, same) == protocol_identity(moved, same)
    assert protocol_identity(one, same) != protocol_identity(one, DATA | {"frozen": "e" * 32})


def test_a_checkpoint_that_the_ledger_knows_by_another_digest_is_refused(folder):
    def recorded(digest):
        return (opened(), CheckpointRecord(1, 2, 5, "epoch-0001-step-00002-attempt-1", digest))

    own = CheckpointStore(folder / "checkpoints").load("last").digest
    assert resumed(folder, history=recorded(own)).checkpoint.digest == own
    # Not recorded at all: a crash came between the save and its record.
    assert resumed(folder, history=BEGUN).checkpoint.digest == own
    message = f"its digest is {own}, and .*ledger.jsonl says that {'0' * 32} was saved"
    for segment in (None, "new"):
        with pytest.raises(InputError, match=message):
            resumed(folder, segment=segment, history=recorded("0" * 32))


def test_a_checkpoint_of_other_dynamics_than_the_ledger_tells_of_is_refused(tmp_path):
    saved(tmp_path, 1, chosen=config(train={"lr": 0.5}))
    with pytest.raises(InputError, match=r"other dynamics than .* segment main: train.lr: 0.5 -> "):
        resumed(tmp_path)
    # Where a new segment begins there, it is said to.
    assert resumed(tmp_path, segment="b").new_segment


def test_a_checkpoint_that_was_renamed_is_refused(folder):
    store = CheckpointStore(folder / "checkpoints")
    later = folder / "checkpoints" / "epoch-0009-step-00000-attempt-1"
    (folder / "checkpoints" / "epoch-0001-step-00000-attempt-1").rename(later)
    with pytest.raises(CheckpointError, match=r"counters say epoch 1, step 0, .* it was renamed"):
        store.load(str(later))
    own = later.rename(folder / "checkpoints" / "my-copy")
    assert store.load(str(own)).progress["epoch"] == 1


def test_an_attempt_gives_no_name_again_where_the_ledger_is_gone(folder):
    assert resumed(folder, history=()).attempt == 2


def test_a_ledger_that_ends_before_the_checkpoint_is_told(folder):
    steps = [StepRecord(e, s, ("0" * 9,), "b", 0.1, 1.0, 1, 0, 1.0) for e in (1, 2) for s in (1, 2)]
    for records, told in ((steps, 0), (steps[:3], 1), ((), 1)):
        history = (opened(), *records)
        notes = lost_end(LedgerContent(history, ()), resumed(folder, history=history))
        assert len(notes) == told
    assert notes[0].startswith("ledger.jsonl ends before its first step, before the checkpoint")
