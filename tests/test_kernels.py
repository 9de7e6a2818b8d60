"""What a device cannot compute deterministically is named, with what to do."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness.config import parse_config
from harness.environment import apply_environment

MISSING = (
    "A deterministic GPU implementation of fused batch-norm backprop, when training is disabled, "
    "is not currently available."
)


@pytest.fixture(scope="module")
def kit():
    """TensorFlow and what is built on it, imported once the environment is applied."""
    apply_environment(parse_config({}))
    from harness.supernet import network
    from harness.training import kernels, model, step

    return SimpleNamespace(**vars(kernels) | vars(step) | vars(model) | vars(network))


@pytest.fixture(scope="module")
def problems_of(kit):
    """Return a function that looks for problems in one pass."""
    return lambda run: kit.find_problems({"gradient": run})


def raising(kit, message):
    def run():
        raise kit.tf.errors.UnimplementedError(None, None, message)

    return run


@pytest.mark.parametrize(
    "message",
    [
        f"{{{{function_node __wrapped__}}}} {MISSING} [Op:FusedBatchNormGradV3] name:",
        f"Graph execution error:\n\n{MISSING}\n\t [[{{{{node gradients/E0_grad/"
        "FusedBatchNormGradV3_2}}]] [Op:__inference_gradient_12]",
    ],
    ids=["eager", "graph"],
)
def test_an_operation_without_a_deterministic_kernel_is_named(kit, problems_of, message):
    (problem,) = problems_of(raising(kit, message))
    assert problem.operation == "FusedBatchNormGradV3"
    assert MISSING in problem.text
    assert "\n" not in problem.text


def test_other_bits_the_second_time_are_a_problem(problems_of):
    draws = np.random.default_rng(3)
    (problem,) = problems_of(lambda: [np.zeros((2, 3), np.float32), draws.random((2, 3))])
    assert problem.text == "1 of 2 tensors differ between two runs on the same input"
    nan = np.full(3, np.nan, np.float32)
    assert problems_of(lambda: [nan, nan.copy()]) == []


def test_an_error_that_is_not_about_a_kernel_is_not_hidden(problems_of):
    def run():
        raise ValueError("the check itself is wrong")

    with pytest.raises(ValueError, match="the check itself is wrong"):
        problems_of(run)


def test_what_to_do_is_said(kit, monkeypatch):
    passes = {"update": raising(kit, f"{MISSING} [Op:ResourceApplyAdam]"), "resizing": list}
    monkeypatch.setattr("harness.training.kernels.tiny_passes", lambda skeleton: passes)
    with pytest.raises(kit.NoDeterministicKernelError) as error:
        kit.require_kernels("full")
    assert str(error.value) == (
        "no deterministic kernel on this device: ResourceApplyAdam in update "
        f"({MISSING} [Op:ResourceApplyAdam]). Two runs would not end alike here: train with "
        "`train.gpu_device: -1`, on another device, or under a TensorFlow that has the kernel"
    )


@pytest.mark.parametrize(
    "skeleton",
    ["bilinear", *(pytest.param(s, marks=pytest.mark.slow) for s in ("full", "decoupled"))],
)
def test_this_device_computes_every_pass_the_same_way_twice(kit, skeleton):
    found = kit.require_kernels(skeleton)
    assert found == (
        "gradient, gradient with fixed statistics, update, recalibration, evaluation, resizing: "
        "deterministic"
    )


@pytest.mark.slow
def test_a_gradient_through_fixed_statistics_asks_for_no_fused_kernel(kit):
    tf, model = kit.tf, kit.Supernet("bilinear", 2, seed=3)
    shape = (1, 32, 48)
    batch = tf.zeros((*shape, 6), tf.uint8), tf.zeros((*shape, 2)), tf.ones(shape, tf.bool)

    def operations(norm):
        def gradient(arch):
            return kit.loss_and_gradients(
                model, kit.TrainParts(), 0.0, arch, batch,
                lambda weights: norm(weights, {
                    u: (m.read_value(), v.read_value()) for u, (m, v) in model.moving.items()
                }),
            )[1]  # fmt: skip

        graph = tf.function(gradient, autograph=False).get_concrete_function(
            tf.TensorSpec([9], tf.int32)
        ).graph.as_graph_def()  # fmt: skip
        bodies = [graph.node, *(f.node_def for f in graph.library.function)]
        return {node.op for body in bodies for node in body}

    assert "FusedBatchNormGradV3" in operations(kit.GivenNorm)
    assert not {op for op in operations(kit.FixedNorm) if op.startswith("FusedBatchNorm")}
