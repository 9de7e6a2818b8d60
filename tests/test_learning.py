"""Training learns: the recipe of docs/training.md beats the all-zero flow by a clear margin."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.mark.nightly
def test_a_small_supernet_beats_the_zero_flow(tmp_path: Path) -> None:
    section = PAGE.split("## Does it learn?")[1].split("\n## ")[0]
    config, commands = re.findall(r"```(?:yaml|bash)\n(.*?)```", section, flags=re.DOTALL)
    (tmp_path / "learn.yaml").write_text(config)
    for line in commands.splitlines():
        command = [sys.executable, "-m", *line.split()]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with (tmp_path / "runs" / "learn" / "epochs.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["mean_epe_12"]) < 0.85 * float(last["zero_flow_epe"])
