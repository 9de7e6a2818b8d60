"""What a foreign system does not show is not applicable; of ours it is broken."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.config import parse_config
from harness.environment import apply_environment
from harness.errors import NotApplicableError, UnseenError
from harness.fc2.synthetic import write_dataset
from harness.promises.arch_codes import NINE_BLOCKS, covers, is_code, options_per_block
from harness.promises.bench import Bench, changed, require_settable
from harness.promises.judge import judge, judge_evidence
from harness.promises.promise import Outcome, Promise, Violation
from harness.promises.recorded_run import beside_plan, planned_sizes, recorded
from harness.promises.refusals import names_word
from harness.promises.registry import PROMISES
from harness.promises.samples import (
    decode_independently,
    known_in_files,
    listed_samples,
    odd_samples,
)
from harness.promises.second_process import FROM_CHECKPOINTS
from harness.promises.setting import embedded_config, fit_to_system
from harness.promises.states import other_kernel
from harness.systems.opening import system_factory
from harness.systems.protocol import Description, Training
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec

HERE = Path(__file__).parent / "numpy_trainer"
QUICK = [name for name, promise in PROMISES.items() if promise.in_quick]
HEAD = f"import sys\nsys.path.insert(0, {str(HERE)!r})\n"
SYSTEMS = {
    # Two nets by the names that somebody gave them, and a log of steps alone.
    "Named": """
import trainer
for old, new in (("half", "0"), ("full", "1")):
    trainer.WIDTHS[new] = trainer.WIDTHS.pop(old)
from adapter import NumpySystem

class Named(NumpySystem):
    pass
""",
    # It does what it is asked for, and tells nothing of it.
    "Silent": """
from adapter import NumpySystem

class Silent(NumpySystem):
    def train(self, epochs, evaluate=True, observe=True, steps=None):
        super().train(epochs, evaluate, observe, steps)
        return {}

    def batches(self, role, epoch=1):
        return []
""",
    # Rows of a log that lacks most columns, and no clip checks.
    "Logged": """
from adapter import NumpySystem

COLUMNS = (
    "mean_epe_12 std_epe_12 fairness_gap lr bn_recal_batches eval_batches_per_arch "
    "train_loss_epoch_avg train_grad_norm_epoch_avg grad_norm_p50 grad_norm_p90 grad_norm_p99 "
    "clip_checks expected_clip_checks clip_count clip_rate eval_seconds bn_recal_seconds "
    "per_arch_epe_min per_arch_epe_median per_arch_epe_max kendall_tau_prev eval_batch_hash "
    "bn_recal_batch_hash zero_flow_epe best_epe"
).split()

class Logged(NumpySystem):
    def describe(self):
        settings = {"train.clip_position": "update", "train.lr_schedule": "constant"}
        return dict(super().describe(), settings=settings, supports=[])

    def train(self, epochs, evaluate=True, observe=True, steps=None):
        done = self.trainer.epoch
        found = super().train(epochs, evaluate, observe, steps)
        rows = []
        for epoch in range(done + 1, self.trainer.epoch + 1):
            reasons = dict.fromkeys(COLUMNS, "not logged by this system")
            total = epoch * len(self.trainer.plan(1))
            rows.append(dict(dict.fromkeys(COLUMNS), epoch=epoch, global_step=total,
                             reasons=reasons))
        return dict(found, epochs=rows)
""",
}


def judged(source, name, folder, *, samples):
    """Return the judgement of each quick promise of a system on so many samples per split."""
    (folder / "system.py").write_text(HEAD + source)
    write_dataset(folder / "data", train=samples, val=samples, height=53, width=75)
    spec, workers = SystemSpec(f"{folder / 'system.py'}:{name}"), Workers()
    config = embedded_config(folder / "data")
    apply_environment(config)
    tree = config.model_dump(mode="json", by_alias=True)
    if name == "Logged":
        tree["train"]["clip_position"] = "update"
    bench = Bench(system_factory(spec, workers), spec, tree, folder / "bench", FROM_CHECKPOINTS)
    found = {name: judge(PROMISES[name], bench) for name in QUICK}
    bench.close()
    workers.close()
    return found


@pytest.mark.parametrize(("name", "samples"), [("Named", 1), ("Silent", 2), ("Logged", 3)])
def test_nobody_is_accused_of_what_was_not_seen(name, samples, tmp_path):
    found = judged(SYSTEMS[name], name, tmp_path, samples=samples)
    accused = {n: j.text for n, j in found.items() if j.verdict not in ("holds", "n/a")}
    assert accused == {}
    assert found["same-scores-again"].verdict == "holds"
    assert all(j.text for j in found.values())


def promise_of(check):
    return Promise("one", "it holds", check, "Look.")


def unseen(evidence):
    return Outcome((), "figures", unseen="no step was recorded")


def broken_and_unseen(evidence):
    return Outcome((Violation("w", "1", "2"),), "figures", unseen="no step was recorded")


def raising(evidence):
    raise UnseenError("no step was recorded")


@pytest.mark.parametrize("check", [unseen, raising])
def test_what_was_not_seen_breaks_our_promise_and_nobody_elses(check):
    theirs = judge_evidence(promise_of(check), lambda: None, foreign=True)
    assert (theirs.verdict, theirs.text) == ("n/a", "no step was recorded")
    ours = judge_evidence(promise_of(check), lambda: None)
    assert ours.verdict == "BROKEN"
    assert ours.violations == (
        "evidence: expected something to compare, found no step was recorded",
    )


def test_what_was_seen_is_told_beside_what_was_not():
    found = judge_evidence(promise_of(broken_and_unseen), lambda: None, foreign=True)
    assert (found.verdict, found.violations) == ("BROKEN", ("w: expected 1, found 2",))
    ours = judge_evidence(promise_of(broken_and_unseen), lambda: None)
    assert len(ours.violations) == 2


TREE = {
    "train": {"batch_size": 5, "epoch_mode": "full_pass", "clip_position": "update"},
    "eval": {"batch_size": None}, "data": {"input_height": 32, "input_width": 48},
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "only", "asked"),
    [
        ("train.clip_position", "update", "micro_step"),
        ("train.epoch_mode", "full_pass", "fixed_steps"),
        ("train.micro_batch_size", None, 2),
        ("eval.batch_size", None, 3),
        ("eval.crop", [32, 48], [16, 48]),
    ],
)
def test_a_value_that_the_system_does_not_have_is_refused_by_name(key, only, asked):
    section, name = key.split(".")
    with pytest.raises(NotApplicableError, match=rf"{key} .* alone, .* is needed"):
        require_settable(TREE, {key: only}, {section: {name: asked}})
    require_settable(TREE, {key: only}, {section: {name: only}})
    require_settable(TREE, {}, {section: {name: asked}})


@pytest.mark.parametrize(
    ("key", "only", "asked"),
    [
        ("eval.batch_size", None, 5), ("eval.crop", None, (32, 48)), ("eval.crop", [32, 48], None),
        ("train.micro_batch_size", None, 5),
        ("train.train_sampling_mode", "shuffle_no_replacement", None),
    ],
)  # fmt: skip
def test_a_key_that_is_left_out_is_what_it_stands_for(key, only, asked):
    section, name = key.split(".")
    require_settable(TREE, {key: only}, {section: {name: asked}})


@pytest.mark.parametrize(
    ("arch", "options", "code"),
    [
        ("012012012", (), True), ("0", (), False), ("1", (), False), ("10", (), False),
        ("012012013", (), False), ("model-a", (), False), ("01201201\u0662", (), False),
        ("03", [["a", "b"], ["a", "b", "c", "d"]], True), ("30", [["a"], ["a", "b"]], False),
    ],
)  # fmt: skip
def test_a_code_has_a_digit_for_each_block_of_the_space(arch, options, code):
    assert is_code(arch, options_per_block(options)) is code


def test_archs_cover_a_space_or_have_none():
    assert covers(("0" * 9, "1" * 9, "2" * 9), NINE_BLOCKS)
    assert not covers(("0" * 9,), NINE_BLOCKS)
    assert covers(("half", "full"), NINE_BLOCKS)


@pytest.mark.parametrize(
    ("message", "word", "found"),
    [
        ("NaN in fnet.conv1.weight", "module.fnet.conv1.weight", True),
        ("NaN in conv1.weight", "module.fnet.conv1.weight", True),
        ("NaN in cnet.conv1.weight", "module.fnet.conv1.weight", False),
        ("NaN in weight", "module.fnet.conv1.weight", False),
        ("NaN in module.fnet.conv1.weights", "module.fnet.conv1.weight", False),
        ("NaN in module.fnet.conv1.weight.", "fnet.conv1.weight", True),
        ("NaN in head.weight", "ema/head.weight", True),
        ("NaN in weight", "ema/head.weight", False),
        ("NaN in cnet.head.weight", "ema/head.weight", False),
        ("NaN in conv/kernel", "block/conv/kernel", False),
        ("bad file flow_01.flo", "0000001-flow_01.flo", False),
    ],
)
def test_a_wrapped_name_is_named_by_its_last_components(message, word, found):
    assert names_word(message, word) is found


def plan(folder, samples, **train):
    write_dataset(folder / "data", train=samples, val=1, height=53, width=75)
    tree = embedded_config(folder / "data").model_dump(mode="json", by_alias=True)
    return changed(tree, train={"batch_size": 4, "micro_batch_size": 3, **train})


@pytest.mark.parametrize(
    ("samples", "whole", "train", "sizes"),
    [
        (11, False, {}, (4, 4, 3)), (11, True, {}, (4, 4, 4)), (8, True, {}, (4, 4)),
        (1, False, {}, (1,)), (1, True, {}, (4,)),
        (2, False, {"epoch_mode": "fixed_steps", "steps_per_epoch": 3}, (4, 4, 4)),
    ],
)  # fmt: skip
def test_one_plan_follows_from_data_and_configuration(samples, whole, train, sizes, tmp_path):
    config, about = (
        plan(tmp_path, samples, **train),
        Description("s", frozenset(), whole_batches=whole),
    )
    assert planned_sizes(config, about) == sizes
    said_otherwise = Training(planned_sizes=(9,), batch_size=9)
    assert beside_plan(config, about, said_otherwise).planned_sizes == sizes
    ledger = recorded(config, about, said_otherwise)
    assert ledger.planned_sizes == sizes
    assert ledger.train_samples == samples


def test_what_the_system_cannot_vary_is_in_the_plan(tmp_path):
    settings = {"train.batch_size": 2, "train.micro_batch_size": None, "train.lr_schedule": "step"}
    about = Description("s", frozenset(), settings=settings, whole_batches=True)
    config = plan(tmp_path, 5)
    assert planned_sizes(config, about) == (2, 2, 2)
    found = beside_plan(config, about, Training())
    assert (found.batch_size, found.micro_batch) == (2, 2)
    fitted = fit_to_system(parse_config(config), about)
    assert (fitted.train.batch_size, fitted.train.micro_batch_size) == (2, None)


def normalised(kernels, inputs):
    """Return a chain of linear maps, batch-normalised, behind a ReLU."""
    for kernel in kernels:
        inputs = inputs @ kernel
    scaled = (inputs - inputs.mean(0)) / inputs.std(0)
    return np.maximum(scaled, 0)


def test_another_kernel_is_seen_through_normalisation_where_a_factor_is_not():
    rng = np.random.default_rng(3)
    kernels, inputs = [rng.normal(size=(4, 5)), rng.normal(size=(5, 3))], rng.normal(size=(9, 4))
    before = normalised(kernels, inputs)
    assert np.allclose(normalised([kernels[0] * 1.5, kernels[1]], inputs), before)
    for changed_ones in (
        [other_kernel(kernels[0]), kernels[1]],
        [other_kernel(kernel, place) for place, kernel in enumerate(kernels)],
    ):
        assert np.abs(normalised(changed_ones, inputs) - before).max() > 0.1
    assert other_kernel(np.zeros((1, 1, 2, 2))).all()


@pytest.mark.parametrize("samples", [1, 3])
def test_what_the_files_do_not_know_is_unknown_whatever_is_served(samples, tmp_path):
    write_dataset(tmp_path / "data", train=samples, val=samples, height=53, width=75)
    tree = embedded_config(tmp_path / "data").model_dump(mode="json", by_alias=True)
    folder = odd_samples(SimpleNamespace(folder=tmp_path, config=tree), "odd") / "val"
    ids = listed_samples(folder)
    window, shape = (10, 13, 32, 48), (samples, 32, 48)
    batch = SimpleNamespace(ids=ids, windows=(window,) * samples, valid=np.ones(shape, bool))
    known = known_in_files(folder, batch)
    # The last one too, which is in a batch that is not full.
    assert (~known).sum(axis=(1, 2)).tolist() == [28, 0, 28][:samples]
    first, last = (decode_independently(folder, sample)[1] for sample in (ids[0], ids[-1]))
    by_u, by_v = (np.abs(first) > 1e9)[..., 0], (np.abs(first) > 1e9)[..., 1]
    assert (by_u & ~by_v).any()
    assert (by_v & ~by_u).any()
    # Of one sample alone, beside what is unknown.
    assert (last == (80, -80)).all(axis=-1).sum() == 28
    assert known_in_files(folder, SimpleNamespace(ids=("elsewhere",), valid=batch.valid)).all()
