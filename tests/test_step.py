import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from harness.config import parse_config
from harness.environment import apply_environment
from harness.supernet.space import SKELETONS, active_units, norm_units

HEIGHT, WIDTH, SAMPLES = 32, 48, 10
ARCH = (1, 0, 2, 1, 0, 1, 2, 0, 1)
SPLIT = (4, 4, 2)


@pytest.fixture(scope="module")
def kit():
    """The pieces of a step, imported once the environment is applied."""
    apply_environment(parse_config({}))
    import tensorflow as tf

    from harness.supernet.network import FixedNorm
    from harness.training import adam
    from harness.training.model import Supernet
    from harness.training.step_functions import loss_and_gradients
    from harness.training.train_parts import TrainParts

    return SimpleNamespace(
        tf=tf, FixedNorm=FixedNorm, model=Supernet("full", 2, 5), adam=adam,
        parts=TrainParts(), loss_and_gradients=loss_and_gradients,
    )  # fmt: skip


def draw(seed=6):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (SAMPLES, HEIGHT, WIDTH, 6), np.uint8)
    # samples differ in length of flow, so that a wrong weight shows
    scale = np.geomspace(0.2, 60, SAMPLES)[:, None, None, None]
    flow = (rng.normal(size=(SAMPLES, HEIGHT, WIDTH, 2)) * scale).astype(np.float32)
    return frames, flow, rng.random((SAMPLES, HEIGHT, WIDTH)) < 0.8


def measure(kit, batch, piece=slice(None), decay=4e-5):
    """Return loss and gradients with the statistics of every unit held fixed."""
    shapes = {u: kit.model.moving[u][0].shape for u in norm_units(SKELETONS["full"])}
    stats = {u: (kit.tf.fill(s, -1.0), kit.tf.fill(s, 2.0)) for u, s in shapes.items()}
    loss, gradients, _ = kit.loss_and_gradients(
        kit.model, kit.parts, decay, kit.tf.constant(ARCH), [a[piece] for a in batch],
        lambda weights: kit.FixedNorm(weights, stats),
    )  # fmt: skip
    return float(loss), gradients


def flat(gradients):
    return np.concatenate([np.asarray(g, np.float64).ravel() for g in gradients])


def far(one, other):
    return np.linalg.norm(flat(one) - flat(other)) / np.linalg.norm(flat(other))


@pytest.fixture(scope="module")
def pieces(kit):
    """Gradients of the whole batch, and of its micro-batches of 4, 4 and 2."""
    batch, ends = draw(), np.cumsum((0, *SPLIT))
    slices = [slice(a, b) for a, b in itertools.pairwise(ends)]
    assert kit.parts.micro_batches(SAMPLES, 4) == slices
    return measure(kit, batch), [measure(kit, batch, piece) for piece in slices]


def accumulated(kit, gradients, weights):
    total = [kit.tf.zeros_like(g) for g in gradients[0]]
    for gradient, weight in zip(gradients, weights, strict=True):
        total = kit.parts.accumulate(total, gradient, kit.tf.constant(weight, kit.tf.float32))
    return total


def test_micro_batches_of_4_4_and_2_give_the_mean_over_10_samples(kit, pieces):
    (loss, whole), parts = pieces
    weights = [3 * kit.parts.micro_weight(size, SAMPLES) for size in SPLIT]
    assert far(accumulated(kit, [g for _, g in parts], weights), whole) < 1e-4
    losses = [part for part, _ in parts]
    assert math.fsum(w * x for w, x in zip(weights, losses, strict=True)) == pytest.approx(loss)


def test_micro_batches_that_weigh_the_same_would_not(kit, pieces):
    (_, whole), parts = pieces
    assert far(accumulated(kit, [g for _, g in parts], [1 / 3] * 3), whole) > 1e-2


@pytest.mark.parametrize("sizes", [SPLIT, (3, 3, 1), (5,), (1, 1)])
def test_the_weights_of_a_step_sum_to_1(kit, sizes):
    weights = [kit.parts.micro_weight(size, sum(sizes)) for _arch in range(3) for size in sizes]
    assert math.fsum(weights) == pytest.approx(1)


@pytest.mark.parametrize("value", [1e6, -1e9])
def test_what_lies_under_invalid_pixels_changes_no_bit(kit, value):
    frames, flow, valid = draw()
    changed = np.where(valid[..., None], flow, np.float32(value))
    one, other = (measure(kit, (frames, label, valid)) for label in (flow, changed))
    assert one[0] == other[0]
    for a, b in zip(one[1], other[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_samples_weigh_the_same_whatever_their_valid_pixels(kit):
    frames, flow, valid = draw()
    valid[0, 2:] = False
    single = [measure(kit, (frames, flow, valid), slice(i, i + 1))[0] for i in range(SAMPLES)]
    assert measure(kit, (frames, flow, valid))[0] == pytest.approx(np.mean(single), rel=1e-5)


def test_weight_decay_reaches_every_kernel_and_nothing_else(kit):
    batch, decay = draw(), 0.25
    gradients = [measure(kit, batch, slice(0, 2), rate)[1] for rate in (0.0, decay)]
    for name, without, with_decay in zip(kit.model.weights, *gradients, strict=True):
        weight = kit.model.weights[name].numpy()
        added = decay * weight if name.endswith("/kernel") else np.zeros_like(weight)
        scale = np.abs(without).max() + np.abs(added).max()
        np.testing.assert_allclose(with_decay - without, added, atol=1e-5 * scale + 1e-9)


def test_without_decay_units_that_do_not_run_get_a_gradient_of_0(kit):
    gradients = measure(kit, draw(), slice(0, 3), 0.0)[1]
    running = active_units(SKELETONS["full"], ARCH)
    moved = {n for n, g in zip(kit.model.weights, gradients, strict=True) if np.any(g)}
    assert {n.removesuffix("/gamma") for n in moved if n.endswith("/gamma")} == set(running)


# ---- clipping


def vectors(kit, scale=1.0):
    shapes = [(3, 3, 2, 4), (4,), (5, 1)]
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=s).astype(np.float32) * np.float32(scale) for s in shapes]
    return arrays, [kit.tf.constant(a) for a in arrays]


def clip(kit, tensors, threshold):
    graph = kit.tf.function(kit.parts.clip, autograph=False)
    clipped, before, after = graph(tensors, kit.tf.constant(threshold, kit.tf.float32))
    return [c.numpy() for c in clipped], float(before), float(after)


def test_the_norm_before_is_that_of_all_gradients_together(kit):
    arrays, tensors = vectors(kit)
    _, before, _ = clip(kit, tensors, 1.0)
    assert before == pytest.approx(np.linalg.norm(flat(arrays)), rel=1e-6)


@pytest.mark.parametrize("room", [1.0, 1.01, 1e6])
def test_gradients_within_the_threshold_keep_their_bits(kit, room):
    arrays, tensors = vectors(kit)
    threshold = np.float32(clip(kit, tensors, 1.0)[1]) * np.float32(room)
    clipped, before, after = clip(kit, tensors, threshold)
    assert [c.tobytes() for c in clipped] == [a.tobytes() for a in arrays]
    assert before == after <= threshold


@pytest.mark.parametrize(("scale", "threshold"), [(1.0, 5.0), (100.0, 5.0), (1.0, 0.01)])
def test_gradients_above_the_threshold_are_scaled_to_it_and_keep_their_direction(
    kit, scale, threshold
):
    arrays, tensors = vectors(kit, scale)
    clipped, before, after = clip(kit, tensors, threshold)
    assert before > threshold
    assert after == pytest.approx(threshold, rel=1e-5)
    assert np.linalg.norm(flat(clipped)) == pytest.approx(threshold, rel=1e-5)
    np.testing.assert_allclose(flat(clipped), flat(arrays) * threshold / before, rtol=1e-5)


def test_gradients_of_0_stay_0(kit):
    clipped, before, after = clip(kit, [kit.tf.zeros([3, 2])], 1.0)
    assert (before, after) == (0, 0)
    assert not np.any(clipped)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_not_hidden(kit, value):
    clipped, before, after = clip(kit, [kit.tf.constant([1.0, value])], 1.0)
    assert not math.isfinite(before)
    assert math.isnan(after)
    assert np.isnan(clipped[0]).any()


# ---- Adam


def transcribed(weight, gradients, rates):
    """Adam as TensorFlow 1 writes it, in float64."""
    m = v = np.zeros_like(weight)
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        weight = weight - lr * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-8)
    return weight, m, v


@pytest.fixture(scope="module")
def stepped(kit):
    """Two variables after five Adam steps, and what they should be."""
    rng, shapes, rates = np.random.default_rng(1), [(3, 4), (5,)], (0.1, 0.09, 0.06, 0.03, 0.01)
    start = [rng.normal(size=s).astype(np.float32) for s in shapes]
    drawn = [[rng.normal(0, 10.0**-t, s).astype(np.float32) for s in shapes] for t in range(5)]
    weights = [kit.tf.Variable(s) for s in start]
    moments = [[kit.tf.Variable(np.zeros_like(s)) for s in start] for _ in range(2)]
    powers = kit.tf.Variable(kit.adam.BETA_1), kit.tf.Variable(kit.adam.BETA_2)
    apply = kit.tf.function(kit.parts.apply, autograph=False)
    for gradients, lr in zip(drawn, rates, strict=True):
        tensors = [kit.tf.constant(g) for g in gradients]
        apply(weights, *moments, powers, tensors, kit.tf.constant(lr, kit.tf.float32))
    expected = [
        transcribed(s.astype(np.float64), [np.float64(g[i]) for g in drawn], rates)
        for i, s in enumerate(start)
    ]
    return (weights, *moments), expected, powers


@pytest.mark.parametrize("index", [0, 1, 2], ids=["weights", "first moment", "second moment"])
def test_five_steps_are_those_of_adam_in_float64(stepped, index):
    state, expected, _ = stepped
    for variable, values in zip(state[index], expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), values[index], rtol=1e-6, atol=1e-6)


def test_the_beta_powers_are_ready_for_the_next_step(stepped):
    powers = [float(power) for power in stepped[2]]
    assert powers == pytest.approx([0.9**6, 0.999**6], rel=1e-6)


def test_the_state_shares_no_memory_with_what_was_given_or_taken():
    apply_environment(parse_config({}))
    from harness.training.model import Supernet

    model = Supernet("full", 2, 5)
    given = {}
    for name, values in model.get_state().items():
        room = np.zeros(values.nbytes + 64, np.uint8)  # TensorFlow keeps aligned memory uncopied
        start = -room.ctypes.data % 64
        given[name] = room[start : start + values.nbytes].view(np.float32).reshape(values.shape)
        given[name][...] = values
    model.set_state(given)
    taken, weights = model.get_state(), model.weight_tensors()
    before = {name: values.copy() for name, values in taken.items()}
    for values in given.values():
        values[...] = 7
    assert all(np.array_equal(values, before[n]) for n, values in model.get_state().items())
    model.set_state({name: values + 1 for name, values in taken.items()})
    assert all(np.array_equal(values, before[name]) for name, values in taken.items())
    assert all(np.array_equal(tensor, before[name]) for name, tensor in weights.items())
