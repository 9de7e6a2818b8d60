"""Clean systems under random configurations raise no alarm."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.faults.clean import random_config
from harness.fc2.layout import list_triplets


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
