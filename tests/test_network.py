import os
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.config import parse_config
from harness.environment import apply_environment
from harness.supernet.space import (
    SKELETONS,
    active_units,
    check_arch,
    check_crop,
    format_arch,
    norm_units,
    parse_arch,
    variable_shapes,
)
from tests.edgeflownas_checkpoints import tensorflow_and_reader

ORIGINAL = os.environ.get("SAMEBITS_EDGEFLOWNAS", "")
COMMITS = {"2ef204e": "full", "902a0e1": "bilinear", "5f197cd": "decoupled"}
WEIGHT_DECAY = 4e-5
OUTPUTS = ("quarter", "half", "full")
RNG = np.random.default_rng(12)
ARCHS = [(0, 1, 2, 0, 1, 2, 0, 1, 2), (2, 0, 1, 1, 2, 0, 1, 2, 0), (1, 2, 0, 2, 0, 1, 2, 0, 1)]
EAGER, GRAPH = "eager", pytest.param("graph", marks=pytest.mark.slow)
"""A graph has every option of every block in it, and takes seconds to trace."""


@pytest.fixture(scope="module")
def net():
    """TensorFlow and what is built on it, imported once the environment is applied."""
    apply_environment(parse_config({}))
    from harness.supernet import loss, network

    return SimpleNamespace(**vars(network) | vars(loss))


# ---- agreement with EdgeFlowNAS's own graph


@pytest.fixture(scope="module", params=COMMITS)
def original(request, net):
    if not ORIGINAL:
        pytest.skip("SAMEBITS_EDGEFLOWNAS does not name EdgeFlowNAS's checkpoints and outputs")
    folder = Path(ORIGINAL) / "checkpoints" / request.param
    found = tensorflow_and_reader().read_whole(folder / "supernet_last.ckpt")
    reference = dict(np.load(folder / "reference.npz"))
    assert found.fit.skeleton == COMMITS[request.param]
    return SimpleNamespace(skeleton=found.fit.skeleton, variables=found.arrays, reference=reference)


def moving_names(skeleton):
    return {f"{unit}/moving_{m}" for unit in norm_units(skeleton) for m in ("mean", "variance")}


@pytest.fixture(scope="module")
def forward(net, original):
    """The forward pass with each norm, and the loss, over the original's variables, both ways."""
    shapes = variable_shapes(SKELETONS[original.skeleton], 4)
    weights = {name: net.tf.constant(original.variables[name]) for name in shapes}
    moving = {
        unit: tuple(original.variables[f"{unit}/moving_{m}"] for m in ("mean", "variance"))
        for unit in norm_units(SKELETONS[original.skeleton])
    }
    norms = {
        "BatchNorm": lambda: net.BatchNorm(weights, moving),
        "RecalNorm": lambda: net.RecalNorm(weights),
        "GivenNorm": lambda: net.GivenNorm(weights, moving),
        "FixedNorm": lambda: net.FixedNorm(weights, moving),
    }
    kernels = [weight for name, weight in weights.items() if name.endswith("/kernel")]
    label = original.reference["label"]

    def run(norm, arch, images):
        outputs, _ = net.forward(original.skeleton, weights, arch, images, norms[norm]())
        loss = net.multiscale_loss(outputs, label, np.ones(label.shape[:3], bool))
        return outputs, loss + net.weight_decay(kernels, WEIGHT_DECAY)

    eager = {norm: partial(run, norm) for norm in norms}
    graph = {norm: net.tf.function(call, autograph=False) for norm, call in eager.items()}
    return {"eager": eager, "graph": graph}


@pytest.mark.parametrize("way", [EAGER, GRAPH])
@pytest.mark.parametrize(
    ("norm", "mode", "allowed"),
    [
        ("BatchNorm", "batch", 5e-5),
        ("RecalNorm", "batch", 5e-5),
        ("GivenNorm", "moving", 2e-5),
        ("FixedNorm", "moving", 2e-5),
    ],
)
def test_outputs_and_loss_are_those_of_the_original(
    net, original, forward, norm, mode, allowed, way
):
    reference = original.reference
    assert len(reference["archs"]) == 5
    apart, relative, losses = [], [], []
    for i, arch in enumerate(reference["archs"]):
        code = net.tf.constant(arch, net.tf.int32)
        outputs, loss = forward[way][norm](code, net.tf.constant(reference["images"]))
        for name, output in zip(OUTPUTS, outputs, strict=True):
            expected = reference[f"{mode}_{i}_{name}"]
            assert output.shape == expected.shape
            apart.append(float(np.abs(output - expected).max()))
            relative.append(apart[-1] / float(np.abs(expected).max()))
        expected = float(reference[f"{mode}_{i}_loss"])
        losses.append(abs(float(loss) - expected) / expected)
    print(  # noqa: T201 -- the figures, for -rP
        f"{original.skeleton}, {norm}, {way}: outputs differ by {max(apart):.2e} at most, "
        f"{max(relative):.2e} of their largest value; losses by {max(losses):.2e} of theirs"
    )
    assert max(relative) < allowed
    assert max(losses) < 1e-5


# ---- the search space


@pytest.mark.parametrize(("name", "count"), [("full", 173), ("bilinear", 173), ("decoupled", 293)])
def test_a_skeleton_has_as_many_variables_as_the_original(name, count):
    skeleton = SKELETONS[name]
    assert len(variable_shapes(skeleton, 4)) + len(moving_names(skeleton)) == count


@pytest.mark.parametrize("name", SKELETONS)
def test_shapes_scale_with_the_width(name):
    narrow, wide = (variable_shapes(SKELETONS[name], width) for width in (4, 32))
    assert list(narrow) == list(wide)
    assert wide["E0/kernel"] == (7, 7, 6, 32)
    assert narrow["DB0/" + ("deep1" if name != "decoupled" else "branch1_block1")
                  + "/conv1/kernel"] == (3, 3, 32, 32)  # fmt: skip
    assert {shape[-1] for n, shape in wide.items() if "Out/" in n} == {4}


@pytest.mark.parametrize(("name", "sizes"), [("full", (7, 5, 3)), ("bilinear", (3, 5, 7))])
def test_kernel_options_have_the_original_s_order(name, sizes):
    assert SKELETONS[name].kernels == sizes


@pytest.mark.parametrize("name", SKELETONS)
def test_the_units_that_run_are_a_part_of_all_units(name):
    skeleton = SKELETONS[name]
    units = norm_units(skeleton)
    gammas = {n.removesuffix("/gamma") for n in variable_shapes(skeleton, 2) if "gamma" in n}
    assert set(units) == gammas
    for arch in ARCHS:
        running = active_units(skeleton, arch)
        assert list(running) == [unit for unit in units if unit in set(running)]


@pytest.mark.parametrize("option", [0, 1, 2])
@pytest.mark.parametrize("name", SKELETONS)
def test_a_depth_option_runs_so_many_blocks_nested_or_in_a_chain_of_its_own(name, option):
    running = active_units(SKELETONS[name], (option, *[0] * 8))
    block = f"branch{option + 1}_block" if name == "decoupled" else "deep"
    found = [unit for unit in running if unit.startswith("EB0/")]
    expected = [f"EB0/{block}{i + 1}/{c}" for i in range(option + 1) for c in ("conv1", "conv2")]
    assert found == expected


def test_the_code_s_positions_follow_the_stages():
    stages = [stage for stage in SKELETONS["full"].stages if stage.choice]
    names = ["EB0", "EB1", "DB0", "DB1", "H0Out", "H1", "H1Out", "H2", "H2Out"]
    assert [stage.name for stage in stages] == names
    assert [SKELETONS["full"].code_index(stage) for stage in stages] == list(range(9))


@pytest.mark.parametrize(
    "arch", [(0,) * 8, (0,) * 10, (0,) * 8 + (3,), (-1,) + (0,) * 8, ()], ids=str
)
def test_an_invalid_arch_code_is_an_error(arch):
    with pytest.raises(ValueError, match=re.escape(f"9 codes of 0, 1 or 2, got {list(arch)}")):
        check_arch(arch)


@pytest.mark.parametrize("text", ["012012012", "0 1 2 0 1 2 0 1 2", "0,1,2,0,1,2,0,1,2"])
def test_an_arch_code_is_read_and_written_back(text):
    assert parse_arch(text) == (0, 1, 2) * 3
    assert format_arch(parse_arch(text)) == "012012012"


@pytest.mark.parametrize("text", ["01201201", "0120120123", "012012013", "01201201x", "", "-1" * 8])
def test_text_that_is_no_arch_code_is_an_error(text):
    with pytest.raises(ValueError, match="an arch code has 9 codes of 0, 1 or 2, got"):
        parse_arch(text)


@pytest.mark.parametrize(
    ("name", "crop", "nearest"),
    [
        ("full", (30, 48), "not a multiple of 4, .* 'full' needs; the nearest are 28 x 48 and 32"),
        ("bilinear", (32, 72), "multiple of 16, .* the nearest are 32 x 64 and 32 x 80"),
        ("decoupled", (7, 48), "the nearest are 16 x 48 and 16 x 48"),
        ("full", (0, 48), r"crop 0 x 48 \(H x W\)"),
    ],
)
def test_a_crop_that_does_not_fit_is_an_error_that_names_the_nearest(name, crop, nearest):
    with pytest.raises(ValueError, match=nearest):
        check_crop(SKELETONS[name], crop)


@pytest.mark.parametrize(("name", "crop"), [("full", (36, 52)), ("bilinear", (32, 48))])
def test_a_crop_of_whole_strides_fits(name, crop):
    check_crop(SKELETONS[name], crop)


# ---- only the chosen branches run


def chosen_kernels(skeleton, arch):
    """Name the kernels that an arch uses, from the skeleton's data alone."""
    names = {f"{unit}/kernel" for unit in active_units(skeleton, arch)}
    choices = [stage for stage in skeleton.stages if stage.choice]
    for stage, option in zip(choices, arch, strict=True):
        if stage.choice == "kernel":
            names.add(f"{stage.name}/k{skeleton.kernels[option]}/kernel")
    return names & set(variable_shapes(skeleton, 2))


def used(skeleton, arch):
    units = {f"{u}/{p}" for u in active_units(skeleton, arch) for p in ("gamma", "beta")}
    return chosen_kernels(skeleton, arch) | units


def alive(rng, name, shape):
    """Return weights under which no ReLU is closed everywhere."""
    centre = {"gamma": 0.4, "beta": 1.0}.get(name.rpartition("/")[2], 0.0)
    return rng.normal(centre, 0.03, shape).astype(np.float32)


@pytest.fixture(scope="module", params=SKELETONS)
def supernet(request, net):
    """Random weights, frames and label, and outputs and gradients of the loss, both ways."""
    name, rng = request.param, np.random.default_rng(9)
    weights = {n: alive(rng, n, s) for n, s in variable_shapes(SKELETONS[name], 2).items()}
    frames = net.tf.constant(rng.uniform(-1, 1, (2, 32, 48, 6)), net.tf.float32)
    label = rng.normal(0, 3, (2, 32, 48, 2)).astype(np.float32)
    units = norm_units(SKELETONS[name])
    stats = {u: tuple(np.ones_like(weights[f"{u}/beta"]) * s for s in (-1, 1)) for u in units}

    def run(values, arch):
        with net.tf.GradientTape() as tape:
            tape.watch(values)
            outputs, _ = net.forward(name, values, arch, frames, net.GivenNorm(values, stats))
            loss = net.multiscale_loss(outputs, label, np.ones(label.shape[:3], bool))
        zero = net.tf.UnconnectedGradients.ZERO
        return outputs, tape.gradient(loss, values, unconnected_gradients=zero)

    ways = {"eager": run, "graph": net.tf.function(run, autograph=False)}

    def call(values, arch, *, way="eager"):
        values, compute = {n: net.tf.constant(v) for n, v in values.items()}, ways[way]
        outputs, gradients = compute(values, net.tf.constant(arch, net.tf.int32))
        return [o.numpy() for o in outputs], {n: g.numpy() for n, g in gradients.items()}

    return SimpleNamespace(skeleton=SKELETONS[name], weights=weights, call=call)


@pytest.mark.parametrize("way", [EAGER, GRAPH])
@pytest.mark.parametrize("arch", ARCHS, ids=format_arch)
def test_weights_that_were_not_chosen_get_a_gradient_of_exactly_0(supernet, arch, way):
    _, gradients = supernet.call(supernet.weights, arch, way=way)
    moved = {name for name, gradient in gradients.items() if gradient.any()}
    assert moved == used(supernet.skeleton, arch)


@pytest.mark.parametrize("way", [EAGER, GRAPH])
@pytest.mark.parametrize("arch", ARCHS, ids=format_arch)
def test_nan_in_weights_that_were_not_chosen_changes_no_bit(supernet, arch, way):
    chosen = used(supernet.skeleton, arch)
    poisoned = {n: w if n in chosen else w * np.nan for n, w in supernet.weights.items()}
    outputs, gradients = supernet.call(supernet.weights, arch, way=way)
    again, again_gradients = supernet.call(poisoned, arch, way=way)
    for one, other in zip(outputs, again, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, again_gradients[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHS[:1], ids=format_arch)
def test_every_weight_that_was_chosen_changes_an_output(supernet, arch):
    """Without a gradient, which says it of each above."""
    outputs, _ = supernet.call(supernet.weights, arch, way="graph")
    for name in sorted(used(supernet.skeleton, arch)):
        changed = supernet.weights | {name: supernet.weights[name] + alive(RNG, name, (1,))}
        others, _ = supernet.call(changed, arch, way="graph")
        assert any((a != b).any() for a, b in zip(outputs, others, strict=True)), name


def test_outputs_are_a_quarter_a_half_and_the_whole_of_the_frame(supernet):
    outputs, _ = supernet.call(supernet.weights, ARCHS[0])
    assert [o.shape for o in outputs] == [(2, 8, 12, 4), (2, 16, 24, 4), (2, 32, 48, 4)]


def test_frames_become_numbers_from_minus_1_to_1_in_the_order_given(net):
    frames = np.uint8([0, 51, 102, 153, 204, 255]).reshape(1, 1, 1, 6)
    found = net.frames_to_input(net.tf.constant(frames)).numpy().ravel()
    np.testing.assert_allclose(found, [-1, -0.6, -0.2, 0.2, 0.6, 1], atol=1e-6)
