"""The gate's setting: what it keeps of a researcher's own, and what it fills up and tells."""

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import pytest

from harness.config import ConfigError, parse_config
from harness.fc2.layout import list_triplets
from harness.fc2.synthetic import make_sample, write_sample
from harness.gate_state import Asked
from harness.promises.bench import Bench
from harness.promises.configured import own_crop_fits, own_setting
from harness.promises.setting import (
    EMBEDDED_TRAIN,
    EMBEDDED_VAL,
    fit_to_system,
    frame_size,
    gate_config,
    link_gate_frames,
)
from harness.systems.protocol import Description
from harness.systems.spec import SystemSpec

SIZE = (37, 53)


def split(folder, numbers, size=SIZE):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        write_sample(
            folder, number, make_sample(height=size[0], width=size[1], seed=1, index=number)
        )


def own(root, **sections):
    tree = {"data": {"base_path": str(root), "input_height": 16, "input_width": 32}}
    return parse_config({**tree, **{k: {**tree.get(k, {}), **v} for k, v in sections.items()}})


def listed(config, name):
    return [triplet.id for triplet in list_triplets(config.data.split_dir(name))]


def test_one_sample_of_each_split_is_filled_up_behind_it(tmp_path):
    split(tmp_path / "fc2" / "train", [3])
    split(tmp_path / "fc2" / "val", [8])
    linked, note = link_gate_frames(own(tmp_path / "fc2"), tmp_path / "gate")
    train, val = listed(linked, "train"), listed(linked, "val")
    assert (len(train), len(val)) == (EMBEDDED_TRAIN, EMBEDDED_VAL)
    assert (train[0], val[0]) == ("0000003", "0000008")
    assert not set(train) & set(val)
    assert f"1 of 1 train samples of {tmp_path}/fc2/train and 10 synthetic ones of 37 x 53" in note
    assert f"1 of 1 val samples of {tmp_path}/fc2/val and 6 synthetic ones of 37 x 53 px" in note
    for triplet in list_triplets(linked.data.split_dir("val")):
        assert cv2.imread(str(triplet.img_1)).shape == (*SIZE, 3)
    # The user's own file is a link, and what is beside it is not in the user's folder.
    assert list_triplets(linked.data.split_dir("val"))[0].flow.is_symlink()
    assert len(list((tmp_path / "fc2" / "val").iterdir())) == 3


def test_of_three_validation_samples_the_last_batch_is_uneven(tmp_path):
    split(tmp_path / "fc2" / "train", range(5))
    split(tmp_path / "fc2" / "val" / "part", (7, 8, 9_999_901))
    linked, _ = link_gate_frames(own(tmp_path / "fc2", train={"batch_size": 4}), tmp_path / "gate")
    setting, val = gate_config(linked), listed(linked, "val")
    assert val[:2] == ["part/0000007", "part/0000008"]
    assert "part/9999901" in val
    assert len(val) == EMBEDDED_VAL
    assert setting.eval.batch_size == 3
    assert len(val) % setting.eval.batch_size
    assert len(listed(linked, "train")) % setting.train.batch_size
    assert setting.train.batch_size == 4


def test_large_splits_are_not_filled_up(tmp_path):
    split(tmp_path / "fc2" / "train", range(13))
    split(tmp_path / "fc2" / "val", range(20, 28))
    linked, note = link_gate_frames(own(tmp_path / "fc2"), tmp_path / "gate")
    assert "synthetic" not in note
    assert set(listed(linked, "val")) <= set(listed(own(tmp_path / "fc2"), "val"))
    assert len(listed(linked, "train")) == EMBEDDED_TRAIN


def test_synthetic_samples_are_of_the_smallest_frames_on_both_sides(tmp_path):
    split(tmp_path / "fc2" / "train", [0], (64, 40))
    split(tmp_path / "fc2" / "train", [1], (48, 80))
    split(tmp_path / "fc2" / "val", range(7))
    linked, note = link_gate_frames(own(tmp_path / "fc2"), tmp_path / "gate")
    assert "9 synthetic ones of 48 x 40 px, 7 of 7 val" in note
    assert frame_size(list_triplets(linked.data.split_dir("train"))[-1].img_0) == (48, 40)


def test_the_crop_of_a_gate_fits_the_smallest_frame(tmp_path):
    split(tmp_path / "fc2" / "train", range(2), (90, 61))
    split(tmp_path / "fc2" / "val", range(2), (53, 75))
    asked = own(tmp_path / "fc2", data={"input_height": 180, "input_width": 240})
    linked, _ = link_gate_frames(asked, tmp_path / "gate")
    # 53 x 61 px, in multiples of the skeleton's 4.
    assert gate_config(linked).train_crop == (52, 60)


def test_a_file_that_is_no_image_is_left_to_whoever_decodes_it(tmp_path):
    split(tmp_path / "fc2" / "train", [0, 1])
    split(tmp_path / "fc2" / "val", range(7))
    (tmp_path / "fc2" / "train" / "0000001-img_0.png").write_bytes(b"none")
    linked, note = link_gate_frames(own(tmp_path / "fc2"), tmp_path / "gate")
    assert listed(linked, "train") == ["0000000", "0000001"]
    assert "synthetic" not in note


@pytest.fixture
def frames(tmp_path):
    split(tmp_path / "train", range(5))
    split(tmp_path / "val", (20, 21))
    return tmp_path


def bench(asked, description, *, system="mine.py:Mine", config=None):
    tree = asked.model_dump(mode="json", by_alias=True)
    setting = tree if config is None else config.model_dump(mode="json", by_alias=True)
    make = lambda: SimpleNamespace(describe=lambda: description)  # noqa: E731
    return Bench(make, SystemSpec(system), setting, None, asked=tree)


MINE = Description("mine", frozenset({"describe", "open"}))


@pytest.mark.parametrize(
    ("described", "crop", "stride"),
    [
        ({"settings": {"model.skeleton": "bilinear"}}, (20, 32), 16),
        ({"settings": {"model.skeleton": "full"}}, (20, 32), 4),
        ({"stride": 12}, (24, 36), 12),
        ({"stride": 12}, (20, 36), 12),
        # A net whose strides nobody names takes any crop, whatever our own skeletons need.
        ({}, (19, 31), 1),
    ],
)
def test_the_crop_that_was_asked_for_is_held_against_the_systems_own_strides(
    frames, described, crop, stride
):
    asked = own(frames, data={"input_height": crop[0], "input_width": crop[1]})
    description = Description("mine", MINE.can, **described)
    shrunk = fit_to_system(gate_config(asked), description)
    found = own_setting(bench(asked, description, config=shrunk))
    assert found.crops == {"training": crop, "evaluation": crop}
    assert found.stride == stride
    fits = not any(side % stride for side in crop)
    assert bool(own_crop_fits(found).violations) is not fits
    inner = own_setting(bench(shrunk, description))
    assert own_crop_fits(inner).violations == ()


def test_of_whole_frames_no_crop_of_an_evaluation_is_asked(frames):
    settings = {"eval.crop": "frame", "train.lr": 0.5}
    asked = own(frames, eval={"crop": [16, 64]})
    fitted = fit_to_system(asked, replace(MINE, settings=settings))
    assert (fitted.eval.crop, fitted.train.lr) == ((16, 64), 0.5)
    found = own_setting(bench(asked, replace(MINE, settings=settings)))
    assert found.crops == {"training": (16, 32)}
    assert own_crop_fits(found).violations == ()
    assert own_crop_fits(own_setting(bench(asked, MINE))).violations != ()


def test_frames_smaller_than_the_crop_are_named(frames):
    asked = own(frames, data={"input_height": 40}, eval={"crop": [16, 64]})
    found = own_crop_fits(own_setting(bench(asked, MINE, config=own(frames))))
    assert [str(violation) for violation in found.violations] == [
        "training crop: expected at most 37 x 53 px, the size of sample 0000000, found 40 x 32",
        "evaluation crop: expected at most 37 x 53 px, the size of sample 0000020, found 16 x 64",
    ]


def test_the_builtin_system_has_the_skeleton_of_the_configuration(frames):
    asked = own(frames, model={"skeleton": "decoupled"}, data={"input_height": 20})
    found = own_setting(bench(asked, MINE, system="builtin"))
    assert found.stride == 16
    assert len(own_crop_fits(found).violations) == 2


def test_what_is_filled_up_to_whole_batches_is_a_warning(frames):
    train = {"batch_size": 4, "epoch_mode": "full_pass"}
    asked = own(frames, train=train, eval={"eval_batches_per_arch": 2})
    whole = Description("mine", MINE.can, whole_batches=True)
    assert own_crop_fits(own_setting(bench(asked, whole))).warnings == (
        "an epoch of 5 samples in batches of 4 trains on 3 again",
        "an evaluation of 2 x 4 samples scores some of a split of 2 more than once",
    )
    assert own_crop_fits(own_setting(bench(asked, MINE))).warnings == ()


def test_a_system_of_whole_batches_is_asked_for_counts_that_need_no_filling(frames):
    asked = own(
        frames, train={"batch_size": 4}, eval={"eval_batches_per_arch": 3, "bn_recal_batches": 7}
    )
    whole = Description("mine", MINE.can, whole_batches=True)
    fitted = fit_to_system(asked, whole)
    # Of 5 training and 2 validation samples.
    assert (fitted.train.batch_size, fitted.eval_batch_size) == (1, 1)
    assert (fitted.eval.eval_batches_per_arch, fitted.eval.bn_recal_batches) == (2, 5)
    fixed = Description(
        "mine", MINE.can, whole_batches=True, settings={"train.batch_size": 2}
    )  # fmt: skip
    fitted = fit_to_system(asked, fixed)
    assert (fitted.train.batch_size, fitted.train.micro_batch) == (2, 2)
    assert (fitted.eval.eval_batches_per_arch, fitted.eval.bn_recal_batches) == (1, 2)


@pytest.mark.parametrize("system", ["builtin", "mine.py:Mine"])
def test_a_crop_that_does_not_fit_the_builtin_net_alone_is_wrong_usage(frames, tmp_path, system):
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps({"data": {"input_height": 18, "input_width": 30}}))
    asked = Asked(system=system, config=str(path), fc2_root=str(frames))
    if system == "builtin":
        with pytest.raises(ConfigError, match="crop 18 x 30"):
            asked.configuration()
        return
    assert asked.configuration().train_crop == (18, 30)


def test_what_is_passed_over_is_told_with_the_gate_s_frames(tmp_path):
    for name in ("train", "val"):
        split(tmp_path / "fc2" / name, [3])
    split(tmp_path / "fc2" / "train" / ".Trash-1000", [4])
    linked, note = link_gate_frames(own(tmp_path / "fc2"), tmp_path / "gate")
    frames, left = note.splitlines()
    assert frames.startswith("frames: 1 of 1 train samples")
    assert left == f"note: {tmp_path}/fc2/train: passed over: 1 hidden folder (.Trash-1000)"
    assert "0000004" not in listed(linked, "train")


def test_a_header_that_lies_fills_no_split_with_gigapixels(tmp_path):
    for name in ("train", "val"):
        split(tmp_path / "fc2" / name, [3])
    path = tmp_path / "fc2" / "train" / "0000003-img_0.png"
    content = bytearray(path.read_bytes())
    content[16:24] = b"\x7f\xff\xff\xff" * 2
    path.write_bytes(content)
    assert frame_size(path) is None
    linked, _ = link_gate_frames(own(tmp_path / "fc2"), tmp_path / "gate")
    assert listed(linked, "train") == ["0000003"]
