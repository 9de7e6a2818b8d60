"""What a user waits for before a training step takes what it takes: ``-m benchmarks.starts``.

Each process is fresh: imports, opening (variables, the list of samples), the first step (its batch,
tracing, first calls), and a later one.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, time
from typing import Any

from harness.config import dump_config, load_config, parse_config, with_fc2_root
from harness.environment import apply_environment
from harness.fc2.synthetic import write_dataset

__all__ = ["Start", "started"]

_STEPS = 4
_TREE: dict[str, dict[str, Any]] = {
    "model": {"width": 8},
    "data": {"input_height": 64, "input_width": 96},
    "train": {
        "num_epochs": 2, "epoch_mode": "fixed_steps", "steps_per_epoch": _STEPS,
        "batch_size": 8, "micro_batch_size": 4,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Start:
    """Seconds of a training's start, by part, s.

    Attributes
    ----------
    imports : float
        From the start of the process until TensorFlow and the trainer are there.
    opening : float
        Until variables and provider are.
    first, later : float
        The first step, and the median of those after it.
    """

    imports: float
    opening: float
    first: float
    later: float

    @property
    def waited(self) -> float:
        """What is waited for that a later step does not take, s."""
        return self.imports + self.opening + self.first - self.later

    def text(self) -> str:
        """Return the parts in one line."""
        return (
            f"{self.waited:.2f} s before a train step takes its {self.later:.2f} s: imports "
            f"{self.imports:.2f}, opening {self.opening:.2f}, tracing and first calls "
            f"{self.first - self.later:.2f}"
        )


def started(folder: Path, rounds: int) -> Start:
    """Return medians of so many fresh processes; frames and configuration go into `folder`."""
    write_dataset(folder / "frames", train=8 * _STEPS, val=8, height=384, width=512)
    config = with_fc2_root(parse_config(_TREE), folder / "frames")
    path = folder / "run.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    found = [_child(path) for _ in range(rounds)]
    return Start(**{name: median(each[name] for each in found) for name in found[0]})


def _child(path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.starts", str(path), repr(time())]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return {name: float(taken) for name, taken in json.loads(done.stdout).items()}


def _measure(path: Path, began: float) -> dict[str, float]:
    """Train an epoch without its evaluation; return seconds by part."""
    config = load_config(path)
    apply_environment(config)
    from harness.runs.session import open_session
    from harness.training.trainer import TrainerOptions

    imported, start = time() - began, perf_counter()
    ends: list[float] = []
    options = TrainerOptions(probe=lambda *_: ends.append(perf_counter()))
    trainer = open_session(config).trainer(options, evaluate=False)
    opened = perf_counter()
    trainer.run(until=1)
    first, *later = (end - start for start, end in pairwise([opened, *ends]))
    return {
        "imports": imported, "opening": opened - start, "first": first, "later": median(later),
    }  # fmt: skip


def main(words: list[str]) -> None:
    """Measure in this process, or print what fresh ones have measured."""
    if words:
        sys.stdout.write(json.dumps(_measure(Path(words[0]), float(words[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(started(Path(folder), rounds=3).text() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
