"""Labels of augmented samples: what is served, how it is told apart, and what is not asked."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness.errors import NotApplicableError
from harness.promises.augmented_labels import augmented_samples
from harness.promises.known_scenes import known_scene
from harness.promises.warping import FITS, best_other, misfit, pair_of
from harness.systems.answers import AnswerError, answer
from harness.systems.protocol import Description


def test_a_trainer_that_declares_nothing_is_not_asked():
    bench = SimpleNamespace(describe=lambda: Description("n", frozenset()))
    with pytest.raises(NotApplicableError, match="declares no augmentation"):
        augmented_samples(bench)


@pytest.mark.parametrize("size", [(29, 43), (136, 168)])
def test_the_flow_of_a_scene_takes_one_frame_to_the_other_and_no_other_flow_does(size):
    first, second, flow = known_scene(3, height=size[0], width=size[1])
    pair = pair_of(first, second, flow, np.ones(size, bool))
    right = misfit(pair)
    assert right < FITS / 2
    assert best_other(pair, 0.0)[1] > right / 2
    assert np.abs(flow).max() <= 8.5


def test_what_is_hidden_or_leaves_the_frame_says_nothing():
    first, second, flow = known_scene(0, height=29, width=43)
    known = np.ones(flow.shape[:2], bool)
    assert misfit(pair_of(first, np.zeros_like(second), flow, known)) is None
    assert misfit(pair_of(first, second, flow + np.float32(99), known)) is None
    assert misfit(pair_of(first, second, flow * np.float32(np.nan), known)) is None


def test_arrays_of_a_sample_are_of_one_size():
    arrays = {"first": np.zeros((5, 7, 3), "f4"), "second": np.zeros((5, 7, 3), "f4"),
              "flow": np.zeros((5, 7, 2), "f4"), "valid": np.ones((5, 7), bool)}  # fmt: skip
    (found,) = answer("training_samples", [arrays])
    assert found.flow.shape == (5, 7, 2)
    arrays["flow"] = arrays["flow"][:, :6]
    with pytest.raises(AnswerError, match=r"\[0\].flow: expected shape \(H, W, 2\) where valid"):
        answer("training_samples", [arrays])


def test_a_batch_is_told_apart_by_its_shapes():
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")
    from harness.systems.torch.trained import NotApplicableError as Untold
    from harness.systems.torch.trained import samples_of, told_apart

    image, flow, mask = np.zeros((2, 3, 5, 7)), np.ones((2, 2, 5, 7)), np.ones((2, 5, 7))
    last = np.moveaxis(flow, 1, -1)
    flow[0, 0, 0, 0] = last[0, 0, 0, 0] = 1e10
    for batch in (
        [image, image + 1, flow, mask], {"pair": np.concatenate([image, image + 1], 1), "f": last},
        (image, image + 1, flow, mask[:, None], ["name", "name"], np.arange(2)),
    ):  # fmt: skip
        one, _ = samples_of(told_apart(batch))
        assert one["second"].shape == (5, 7, 3)
        assert one["second"].min() == 1
        assert one["flow"].shape == (5, 7, 2)
        assert one["valid"].sum() == 34
    for batch in ([image, flow], [image, image, flow, flow], [image[:, None], flow]):
        with pytest.raises(Untold, match="is not told by their shapes"):
            told_apart(batch)
