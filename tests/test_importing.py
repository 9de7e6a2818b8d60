import ast
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.digest import digest_arrays
from harness.errors import InputError
from harness.supernet.import_names import (
    fit_checkpoint,
    optimizer_names,
    source_names,
    without_numbers,
)
from harness.supernet.space import SKELETONS
from harness.training.progress import Progress
from tests.edgeflownas_checkpoints import (
    META,
    STEPS,
    tensorflow_and_reader,
    variables,
    write,
)

ORIGINAL = os.environ.get("SAMEBITS_EDGEFLOWNAS", "")
COMMITS = {"2ef204e": "full", "902a0e1": "bilinear", "5f197cd": "decoupled"}


@pytest.fixture(scope="module")
def tf():
    return tensorflow_and_reader()


# ---- names


@pytest.mark.parametrize(
    ("skeleton", "theirs", "ours"),
    [
        ("full", "supernet_backbone/conv_bn_relu0/conv1/E0_conv/kernel", "E0/kernel"),
        ("full", "supernet_backbone/conv_bn_relu4/bn6/E1_bn/moving_mean", "E1/moving_mean"),
        (
            "full",
            "supernet_backbone/EB0/deep2/conv_bn_relu15/conv16/conv1_conv/kernel",
            "EB0/deep2/conv1/kernel",
        ),
        (
            "full",
            "supernet_backbone/DB0/deep3/conv_bn_relu70/bn72/conv1_bn/beta",
            "DB0/deep3/conv1/beta",
        ),
        ("full", "supernet_backbone/EB1/deep1/conv36/conv2/kernel", "EB1/deep1/conv2/kernel"),
        ("full", "supernet_backbone/DB1/deep1/bn86/bn2/gamma", "DB1/deep1/conv2/gamma"),
        ("full", "supernet_backbone/conv53/Down2Conv/kernel", "Down2/kernel"),
        ("full", "supernet_backbone/bn30/Down1BN/moving_variance", "Down1/moving_variance"),
        ("full", "supernet_backbone/resize_conv77/conv78/Up1_conv/kernel", "Up1/kernel"),
        ("full", "supernet_backbone/bn104/Up2BN/gamma", "Up2/gamma"),
        ("full", "supernet_head/H0Out/conv107/k5/kernel", "H0Out/k5/kernel"),
        ("full", "supernet_head/H1/conv109/k7/kernel", "H1/k7/kernel"),
        ("full", "supernet_head/bn120/H2BN/beta", "H2/beta"),
        ("bilinear", "supernet_head/H1/resize_conv113/conv114/k3_conv/kernel", "H1/k3/kernel"),
        ("bilinear", "supernet_head/H2Out/conv130/k3/kernel", "H2Out/k3/kernel"),
        (
            "decoupled",
            "supernet_backbone/DB1/branch3_block2/conv_bn_relu172/bn174/conv1_bn/gamma",
            "DB1/branch3_block2/conv1/gamma",
        ),
        (
            "decoupled",
            "supernet_backbone/EB1/branch2_block2/conv71/conv2/kernel",
            "EB1/branch2_block2/conv2/kernel",
        ),
    ],
)
def test_a_name_is_matched_by_its_structure_and_not_by_its_numbers(skeleton, theirs, ours):
    assert without_numbers(theirs) == source_names(SKELETONS[skeleton])[ours]
    slots = optimizer_names(SKELETONS[skeleton])
    if "moving_" not in ours:
        assert without_numbers(f"{theirs}/Adam") == slots[f"adam/m/{ours}"]
        assert without_numbers(f"{theirs}/Adam_1") == slots[f"adam/v/{ours}"]


def canonical(name):
    """Derive our name in another way: drop numbered scopes, and what says conv or bn."""
    slot = re.search("(/Adam|/Adam_1)$", name)
    *blocks, layer, variable = name.removesuffix(slot[0] if slot else "").split("/")[1:]
    blocks = [b for b in blocks if not re.fullmatch(r"(conv|bn|conv_bn_relu|resize_conv)\d+", b)]
    layer = re.sub(r"(_conv|_bn|Conv|BN)$", "", layer)
    ours = "/".join([*blocks, re.sub("^bn2$", "conv2", layer), variable])
    return {"/Adam": "adam/m/", "/Adam_1": "adam/v/"}[slot[0]] + ours if slot else ours


def test_variables_that_carry_nothing_are_named_and_nothing_else_is(tf, tmp_path):
    found = tf.read_whole(write(tf, tmp_path, variables("full", 1)))
    assert found.fit.ignored == ("strict_accum_0", "strict_accum_1")


# ---- what is read


@pytest.mark.parametrize("slots", [True, False], ids=["with Adam", "without Adam"])
@pytest.mark.parametrize("skeleton", SKELETONS)
def test_every_variable_comes_over_bit_by_bit(tf, tmp_path, skeleton, slots):
    source = variables(skeleton, 3, slots=slots)
    found = tf.read_whole(write(tf, tmp_path, source))
    assert (found.fit.skeleton, found.fit.width, found.fit.optimizer) == (skeleton, 3, slots)
    assert found.digest == digest_arrays(source)
    used = {canonical(name): a for name, a in source.items() if name.startswith("supernet")}
    for name, array in found.arrays.items():
        if name.startswith("adam/beta"):
            exponent = STEPS + 1 if slots else 1
            beta = 0.9 if "beta1" in name else 0.999
            assert array.tobytes() == np.float32(beta**exponent).tobytes()
        elif name.startswith("adam/") and not slots:
            assert not array.any()
        else:
            assert array.tobytes() == used.pop(name).tobytes(), name
    assert used == {}


def test_the_fullest_state_is_filled_and_no_name_is_ours_alone(tf, tmp_path):
    from harness.training.model import Supernet

    found = tf.read_whole(write(tf, tmp_path, variables("decoupled", 1)))
    assert found.arrays.keys() == Supernet("decoupled", 1, seed=0).variables().keys()


def test_counters_are_those_of_an_epoch_s_end(tf, tmp_path):
    found = tf.read_whole(write(tf, tmp_path, variables("full", 1))).progress
    counts = tuple(tuple(20 + (b == 4 and o == 2) for o in range(3)) for b in range(9))
    assert found == Progress(
        epoch=3, step=0, global_step=STEPS, counts=counts, best_metric=7.25, patience_metric=7.25,
        bad_epochs=2,
    )  # fmt: skip


def test_a_run_that_was_never_evaluated_has_no_best_metric(tf, tmp_path):
    meta = META | {"best_metric": float("inf")}
    found = tf.read_whole(write(tf, tmp_path, variables("full", 1), meta))
    assert found.progress.best_metric is None


# ---- what is wrong is named


def without(name):
    return lambda arrays: {n: a for n, a in arrays.items() if without_numbers(n) != name}


def reshaped(arrays):
    name = next(n for n in arrays if n.endswith("Down1Conv/kernel"))
    return arrays | {name: arrays[name].transpose(0, 1, 3, 2)[..., :1]}


def twice(arrays):
    name = next(n for n in arrays if n.endswith("Down1Conv/kernel"))
    return arrays | {name.replace("conv", "conv9", 1): arrays[name]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: a | {"supernet_head/conv1/H3/kernel": np.ones(2, "f4")},
            "'full' at width 2, the nearest, supernet_head/conv1/H3/kernel is left over",
        ),
        (lambda a: a | {"global_step": np.int64(3)}, "global_step is left over"),
        (lambda a: a | {"beta1_power_1": np.float32(1)}, "beta1_power_1 is left over"),
        (lambda a: a | {"strict_accum_x": np.float32(1)}, "strict_accum_x is left over"),
        (
            without("supernet_backbone/bn#/Down1BN/moving_mean"),
            "supernet_backbone/bn#/Down1BN/moving_mean is missing",
        ),
        (
            without("supernet_head/H2Out/conv#/k3/kernel/Adam_1"),
            "supernet_head/H2Out/conv#/k3/kernel/Adam_1 is missing",
        ),
        (without("beta2_power"), "beta2_power is missing"),
        (without("supernet_backbone/conv_bn_relu#/conv#/E0_conv/kernel"), "E0_conv/kernel is miss"),
        (reshaped, r"Down1Conv/kernel has shape \(3, 3, 8, 1\), expected \(3, 3, 4, 8\)"),
        (twice, r"conv#/Down1Conv/kernel is there 2 times"),
        (
            lambda a: {n: v.astype("f8") if "H2BN/gamma" in n else v for n, v in a.items()},
            "H2BN/gamma has dtype float64, expected float32",
        ),
        (
            lambda a: {"layer/kernel": np.ones(2, "f4")},
            "expected an EdgeFlowNAS supernet with .*E0_conv/kernel.*found 1 variables: layer",
        ),
        (lambda a: a | {"beta2_power": np.float32("nan")}, "beta2_power is nan"),
        (lambda a: a | {"a\x0f\x1b[31mb": np.ones(2, "f4")}, r"a\\x0f\\x1b\[31mb is left over"),
        (
            lambda a: {"la\x1byer/kernel": np.ones(2, "f4")},
            r"found 1 variables: la\\x1byer/kernel",
        ),
    ],
)
def test_a_variable_that_does_not_fit_is_named(tf, tmp_path, change, message):
    prefix = write(tf, tmp_path, change(variables("full", 2)))
    with pytest.raises(InputError, match=message) as raised:
        tf.read_whole(prefix)
    assert str(raised.value).isprintable()
    assert str(raised.value).startswith(str(prefix))


def test_many_problems_are_counted(tf, tmp_path):
    arrays = {n: a for n, a in variables("full", 2).items() if "/EB1/" not in n}
    with pytest.raises(InputError, match="and 61 more"):
        tf.read_whole(write(tf, tmp_path, arrays))


@pytest.mark.parametrize("steps", [0, 900, 40_000, 95_000])
def test_the_step_of_a_long_run_agrees_with_its_float32_power(tf, tmp_path, steps):
    power = np.float32(0.999)
    for _ in range(steps):
        power *= np.float32(0.999)
    arrays = variables("full", 1) | {"beta2_power": np.float32(power)}
    prefix = write(tf, tmp_path, arrays, META | {"global_step": steps})
    assert tf.read_whole(prefix).progress.global_step == steps


# ---- EdgeFlowNAS's own files


@pytest.fixture(scope="module", params=COMMITS)
def original(request):
    if not ORIGINAL:
        pytest.skip("SAMEBITS_EDGEFLOWNAS does not name EdgeFlowNAS's checkpoints and outputs")
    return SimpleNamespace(
        skeleton=COMMITS[request.param],
        prefix=Path(ORIGINAL) / "checkpoints" / request.param / "supernet_last.ckpt",
        table=Path(ORIGINAL) / f"variables_{request.param}.tsv",
    )


def test_the_original_s_list_of_variables_fits_at_width_32(original):
    rows = [line.split("\t") for line in original.table.read_text().splitlines()]
    shapes = {name.removesuffix(":0"): tuple(ast.literal_eval(shape)) for name, shape in rows}
    fit = fit_checkpoint(shapes)
    assert (fit.skeleton, fit.width, fit.problems) == (original.skeleton, 32, ())
    assert {canonical(theirs): theirs for theirs in shapes} == dict(fit.sources)


def test_an_original_comes_over_bit_by_bit(tf, original):
    reader = tf.train.load_checkpoint(str(original.prefix))
    found = tf.read_edgeflownas(original.prefix)
    assert (found.fit.skeleton, found.fit.width) == (original.skeleton, 4)
    used = {f"adam/{p}": reader.get_tensor(p) for p in ("beta1_power", "beta2_power")}
    for name in reader.get_variable_to_shape_map():
        if name.startswith("supernet"):
            used[canonical(name)] = reader.get_tensor(name)
        elif name not in ("beta1_power", "beta2_power"):
            assert re.fullmatch(r"strict_accum_\d+", name)
    assert used.keys() == found.arrays.keys()
    for name, array in used.items():
        assert found.arrays[name].tobytes() == array.tobytes(), name
    meta = json.loads(Path(f"{original.prefix}.meta.json").read_text())
    now = found.progress
    assert (now.epoch, now.global_step, now.best_metric, now.bad_epochs) == tuple(
        meta[key] for key in ("epoch", "global_step", "best_metric", "bad_epochs")
    )
    assert {str(b): {str(o): n for o, n in enumerate(row)} for b, row in enumerate(now.counts)} == (
        meta["fairness_counts"]
    )
    assert found.arrays["adam/beta1_power"] == pytest.approx(0.9 ** (now.global_step + 1))
