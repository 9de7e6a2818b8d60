"""Which arrays belong to an option; what a step asks of systems that cannot vary their modes."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness.environment import apply_environment
from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.first_steps import require_last_alone
from harness.promises.one_batch import crop_of_random_draws, one_batch_sections
from harness.promises.option_arrays import arrays_of_options
from harness.promises.repeated_steps import turned
from harness.promises.samples import copy_samples, decode_independently, listed_samples
from harness.promises.setting import embedded_config
from harness.promises.slices import parts_of
from harness.promises.training_outputs import outputs_of_training
from harness.systems.edgeflownas.graph import arrays_of_options as variables_of_options
from harness.systems.protocol import Description, Recalibration
from harness.systems.spec import SystemSpec

KERNELS = [[("a/0/conv/kernel:0",), ("a/1/conv/kernel:0",)]]
NAMES = ["a/0/conv/kernel:0", "a/0/conv/moving_mean:0", "a/0/conv/m", "a/1/conv/kernel:0",
         "a/1/conv2/gamma:0", "progress/step", "m/a/1/conv/kernel:0"]  # fmt: skip
SLOTS = {"a/0/conv/kernel:0": ("a/0/conv/m", "a/0/conv/v")}


def test_arrays_of_a_kernels_layer_belong_to_its_option_and_slots_do_not():
    about = Description("s", frozenset(), options=KERNELS, slots=SLOTS)
    assert arrays_of_options(about, NAMES) == [
        [{"a/0/conv/kernel:0", "a/0/conv/moving_mean:0"}, {"a/1/conv/kernel:0"}]
    ]


def test_arrays_that_are_declared_are_those_of_an_option():
    further = [[(), ("a/1/conv2/gamma:0",)]]
    about = Description("s", frozenset(), options=KERNELS, option_arrays=further)
    assert arrays_of_options(about, NAMES) == [
        [{"a/0/conv/kernel:0"}, {"a/1/conv/kernel:0", "a/1/conv2/gamma:0"}]
    ]


def test_a_system_without_options_cannot_be_asked():
    with pytest.raises(NotApplicableError, match="does not say which kernels an option runs"):
        arrays_of_options(Description("s", frozenset()), NAMES)


@pytest.mark.parametrize(
    ("plan", "scopes", "shares"),
    [
        ("full", ("deep1", "deep2", "deep3"), ([1, 1, 1], [0, 1, 1], [0, 0, 1])),
        ("decoupled", ("branch1_block1", "branch2_block1", "branch2_block2"),
         ([1, 0, 0], [0, 1, 0], [0, 1, 0])),
    ],
)  # fmt: skip
def test_normalisation_belongs_to_the_depth_options_that_run_it(plan, scopes, shares):
    names = [f"net/DB1/{scope}/bn7/bn2/moving_mean" for scope in scopes]
    variables = dict.fromkeys([*names, f"{names[0]}/Adam", "net/H1BN/gamma"])
    found = variables_of_options(variables, plan)[3]
    assert [[name in option for option in found] for name in names] == [
        list(map(bool, share)) for share in shares
    ]
    assert set().union(*found) == set(names)


def bench_with(frames, tmp_path, **settings):
    """Return a bench of a system that cannot vary some settings."""
    about = Description("s", frozenset(), settings={k.replace("__", "."): v
                                                    for k, v in settings.items()})  # fmt: skip
    tree = embedded_config(frames).model_dump(mode="json", by_alias=True)
    return Bench(lambda: SimpleNamespace(describe=lambda: about), SystemSpec(), tree, tmp_path)


def test_a_step_is_asked_for_in_the_modes_that_a_system_has(embedded_frames, tmp_path):
    free = bench_with(embedded_frames, tmp_path)
    asked = one_batch_sections(free, tmp_path, 5, micro=2)["train"]
    assert (asked["epoch_mode"], asked["train_crop_mode"]) == ("full_pass", "center")
    assert (asked["clip_position"], "steps_per_epoch" in asked) == ("update", False)
    assert crop_of_random_draws(free) is None
    fixed = bench_with(
        embedded_frames, tmp_path, train__epoch_mode="fixed_steps", eval__batch_size=None,
        train__train_crop_mode="random", train__clip_position="micro_step",
    )  # fmt: skip
    sections = one_batch_sections(fixed, tmp_path, 5, micro=2)
    assert sections["train"] == asked | {
        "epoch_mode": "fixed_steps", "train_crop_mode": "random", "steps_per_epoch": 1,
        "clip_position": "micro_step",
    }  # fmt: skip
    assert sections["eval"]["batch_size"] is None
    assert crop_of_random_draws(fixed) == (32, 48)
    for alone in ({"train__epoch_mode": "fixed_steps"}, {"train__train_crop_mode": "random"}):
        assert crop_of_random_draws(bench_with(embedded_frames, tmp_path, **alone)) == (32, 48)


@pytest.mark.parametrize(
    ("key", "value", "options"),
    [
        ("train__batch_size", 4, {}),
        ("train__grad_clip_global_norm", 5.0, {}),
        ("train__clip_position", "update", {"position": "micro_step"}),
    ],
)
def test_a_value_that_leaves_no_step_to_recompute_is_named(
    key, value, options, embedded_frames, tmp_path
):
    fixed = bench_with(embedded_frames, tmp_path, **{key: value})
    with pytest.raises(NotApplicableError, match=rf"{key.replace('__', '.')} must be .*{value!r}"):
        one_batch_sections(fixed, tmp_path, 5, micro=2, **options)


def test_copies_are_the_centre_window_and_no_more(embedded_frames, tmp_path):
    apply_environment(embedded_config(embedded_frames))  # it decodes with TensorFlow
    source = embedded_frames / "train"
    sample = listed_samples(source)[3]
    copy_samples(source, {"0": sample, "1": sample}, tmp_path / "copies", crop=(32, 48))
    frames, flow = decode_independently(source, sample)
    top, left = (flow.shape[0] - 32) // 2, (flow.shape[1] - 48) // 2
    for split in ("train", "val"):
        for name in ("0", "1"):
            found = decode_independently(tmp_path / "copies" / split, name)
            for whole, part in zip((frames, flow), found, strict=True):
                np.testing.assert_array_equal(part, whole[top : top + 32, left : left + 48])


def test_a_mixed_batch_must_have_one_other_sample_at_its_end():
    def batch(text):
        return SimpleNamespace(frames=np.asarray([[[ord(c)]] for c in text], np.uint8))

    require_last_alone(batch("AAAAB"))
    for drawn in ("AAAAA", "AABAB", "AAABA"):
        with pytest.raises(NotApplicableError, match="sample of the last micro-batch twice"):
            require_last_alone(batch(drawn))


class Centring:
    """Predicts a batch's input minus a mean: the one that it holds, or the batch's own."""

    def __init__(self, *, held, recalibrates=True):
        self.held, self.recalibrates = held, recalibrates
        self.arrays = {"unit/moving_mean": np.zeros(2, np.float32)}

    def describe(self):
        return Description("centring", frozenset({"recalibrate", "predict", "state"}))

    def state(self, changes=None):
        self.arrays = {**self.arrays, **(changes or {})}
        return self.arrays

    def recalibrate(self, arch, *, inputs=False):
        if not self.recalibrates:
            raise NotApplicableError("it recalibrates nothing")
        assert inputs
        stats = {"unit": (np.zeros(2, np.float32), np.ones(2, np.float32))}  # without effect
        return Recalibration(arch, stats, {"unit": (INPUT + int(arch),)}, "b")

    def predict(self, arch, batch):
        del batch
        values = INPUT + int(arch)
        mean = self.arrays["unit/moving_mean"] if self.held else values.mean((0, 1, 2))
        return [values - mean]


INPUT = np.random.default_rng(3).normal(2, 1, (2, 3, 4, 2)).astype(np.float32)


def test_outputs_are_normalised_by_the_batch_though_recalibration_has_no_effect():
    for system in (Centring(held=True), Centring(held=False, recalibrates=False)):
        found = outputs_of_training(system, ("0", "1"), None)
        for arch in ("0", "1"):
            expected = INPUT - INPUT.mean((0, 1, 2))
            np.testing.assert_allclose(found[arch][0], expected, atol=1e-5)
        assert not system.arrays["unit/moving_mean"].any()
    assert outputs_of_training(Centring(held=True, recalibrates=False), ("0",), None) is None


class TwoArchs:
    """A system of one block with two options, whose step has the decay of every kernel."""

    def __init__(self, **kernels):
        self.kernels = kernels

    def describe(self):
        return Description("s", frozenset(), options=((("zero", "a"), ("b",)),))

    def restore(self, path):
        """Start from the same kernels."""

    def state(self, changes=None):
        self.kernels |= changes or {}
        return self.kernels

    def train(self, epoch, steps, evaluate):
        decay = sum(float((kernel**2).sum()) for kernel in self.kernels.values())
        losses = tuple(float(self.kernels[name][..., 0].sum()) + decay for name in "ab")
        return SimpleNamespace(steps=[SimpleNamespace(archs=("0", "1"))], losses=losses)


def test_a_kernel_of_zeros_is_left_alone_where_archs_are_told_apart(tmp_path):
    kernel = np.arange(1.0, 9.0).reshape(1, 1, 2, 4)
    system = TwoArchs(zero=np.zeros_like(kernel), a=kernel, b=kernel + 1)
    bench, step = SimpleNamespace(folder=tmp_path), SimpleNamespace(number=1, epoch=1)
    found = turned(bench, system, step, system.train(1, steps=1, evaluate=False))
    assert (found.kernels, found.runs) == (("a",), (True, False))
    assert found.before[0] != found.after[0]
    assert found.before[1] == found.after[1]  # another constant for the zeros would decay here too
    assert not system.kernels["zero"].any()


class TwoWidths(TwoArchs):
    """Runs two output channels of a kernel, or all four of it."""

    def describe(self):
        return Description("s", frozenset(), options=((("w[:, :, :, :2]",), ("w",)),))

    def train(self, epoch, steps, evaluate):
        decay = sum(float((kernel**2).sum()) for kernel in self.kernels.values())
        losses = tuple(float((self.kernels["w"][..., :n] ** 3).sum()) + decay for n in (2, 4))
        return SimpleNamespace(steps=[SimpleNamespace(archs=("0", "1"))], losses=losses)


def test_archs_that_share_a_kernel_are_told_apart_by_the_slice_that_one_runs_alone(tmp_path):
    kernel = np.arange(1.0, 9.0).reshape(1, 1, 2, 4)
    system = TwoWidths(w=kernel.copy())
    bench, step = SimpleNamespace(folder=tmp_path), SimpleNamespace(number=1, epoch=1)
    found = turned(bench, system, step, system.train(1, steps=1, evaluate=False))
    assert (found.kernels, found.runs) == (("w",), (False, True))
    assert found.before[0] == found.after[0]
    assert found.before[1] != found.after[1]
    assert np.array_equal(system.kernels["w"][..., :2], kernel[..., :2])


def test_a_slice_beyond_its_kernel_is_named():
    with pytest.raises(ValueError, match=r"names w\[:, 4:\], which is no element of w: \(3, 4\)"):
        parts_of(["w[:, :2]", "w[:, 4:]"], {"w": np.ones((3, 4))})


def test_a_slice_of_more_axes_than_its_kernel_has_is_named():
    with pytest.raises(ValueError, match=r"names w\[:, :, :\], w has 2 axes: \(3, 4\)"):
        parts_of(["w[:, :, :]"], {"w": np.ones((3, 4))})
