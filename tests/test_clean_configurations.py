"""Clean systems under random configurations raise no alarm."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from harness.config import Config
from harness.faults.clean import random_config
from harness.fc2.layout import list_triplets
from harness.supernet.space import SKELETONS


@pytest.mark.slow
def test_random_configurations_vary_in_everything_they_should(tmp_path: Path) -> None:
    configs = [random_config(i, seed=3, folder=tmp_path / str(i)) for i in range(24)]
    for values in (
        {c.model.skeleton for c in configs},
        {c.train.clip_position for c in configs},
        {c.train.epoch_mode for c in configs},
        {c.eval.recal_mode for c in configs},
        {c.train.batch_size for c in configs},
        {c.train.micro_batch for c in configs},
        {c.eval.eval_batches_per_arch for c in configs},
        {c.eval.eval_pool_size for c in configs},
        {c.data.input_height for c in configs},
    ):
        assert len(values) > 1
    assert all(c.data.input_height != c.data.input_width for c in configs)


@pytest.mark.slow
def test_twenty_configurations_have_what_few_draws_would_miss(tmp_path: Path) -> None:
    configs = [random_config(i, seed=0, folder=tmp_path / str(i)) for i in range(20)]
    for split in ("train", "val"):
        name: Literal["train", "val"] = "train" if split == "train" else "val"
        counts = [len(list_triplets(c.data.split_dir(name))) for c in configs]
        assert set(counts) == {1, 2, 3, 5, 7, 11}
    assert {1, 2, 20} <= {c.eval.eval_pool_size for c in configs}
    assert {(c.model.skeleton, c.train.epoch_mode) for c in configs} == {
        (skeleton, mode) for skeleton in SKELETONS for mode in ("full_pass", "fixed_steps")
    }
    one_batch = [c for c in configs if _batches(c) == 1 and c.train.batch_size > 1]
    assert {c.train.epoch_mode for c in one_batch} == {"full_pass", "fixed_steps"}
    assert any(_batches(c) > 1 for c in configs)


def _batches(config: Config) -> int:
    if config.train.epoch_mode == "fixed_steps":
        return config.train.steps_per_epoch
    return -(-len(list_triplets(config.data.split_dir("train"))) // config.train.batch_size)


def test_a_random_configuration_is_a_function_of_seed_and_index(tmp_path: Path) -> None:
    one, again = (random_config(5, seed=3, folder=tmp_path / name) for name in ("a", "b"))
    assert one.train == again.train
    assert one.eval == again.eval
    ids = [[t.id for t in list_triplets(c.data.split_dir("train"))] for c in (one, again)]
    assert ids[0] == ids[1]
    assert random_config(6, seed=3, folder=tmp_path / "c").train != one.train


@pytest.mark.nightly
def test_fifty_clean_systems_raise_no_alarm(tmp_path: Path) -> None:
    path = tmp_path / "clean.json"
    command = [sys.executable, "-m", "harness", "faults", "--clean", "50", "--json", str(path)]
    subprocess.run(command, check=False, capture_output=True)
    found = json.loads(path.read_text())
    assert found["false_alarms"] == {}
    assert found["clean_systems"] == 50
