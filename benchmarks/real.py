"""The real EdgeFlowNAS, the dense reference and ours on the same weights and frames.

    EDGEFLOWNAS_ROOT=MCUFlowNet python -m benchmarks.real [--space] [--rounds 3]

Each evaluation in a process of its own, in turn, and of its seconds the medians. Clocks start after
imports and end with the result, so that restoring, decoding and tracing count; beside it the same
once more in the process that did it, decoding included. ``EDGEFLOWNAS_PYTHON`` names the
interpreter that the checkout needs, where it is another.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.device_table import Row
from harness.config import Config, dump_config, parse_config, with_fc2_root
from harness.environment import apply_environment
from harness.fc2.synthetic import write_dataset

__all__ = ["Evaluations", "Spent", "rows"]

_FRAME = 384, 512
_TREE: Mapping[str, Any] = {
    "runtime": {"seed": 42},
    "model": {"width": 8},
    "data": {"input_height": 64, "input_width": 96},
    "train": {"batch_size": 8, "micro_batch_size": 8},
    "eval": {"eval_pool_size": 12, "bn_recal_batches": 8, "eval_batches_per_arch": 4},
}


@dataclass(frozen=True)
class Spent:
    """Seconds of fresh processes that did the same.

    Attributes
    ----------
    cold, steady : tuple of dict
        Of each process, s by the ``wall`` clock and of all threads together, ``cpu``: from after
        its imports to the result, and the same once more.
    scores : tuple of float
        EPE of each arch by its own metric, px.
    """

    cold: tuple[Mapping[str, float], ...]
    steady: tuple[Mapping[str, float], ...]
    scores: tuple[float, ...]

    def seconds(self, part: str, clock: str = "wall") -> float:
        """Return the median of the ``cold`` or the ``steady`` ones, s."""
        return float(median(each[clock] for each in getattr(self, part)))

    def text(self) -> str:
        """Return the seconds as they are printed."""
        return (
            f"{self.seconds('cold'):.2f} s and {self.seconds('steady'):.2f} s in steady state "
            f"(of processors {self.seconds('cold', 'cpu'):.2f} and "
            f"{self.seconds('steady', 'cpu'):.2f})"
        )


@dataclass
class Evaluations:
    """Frames, weights and files of one setting, and the processes that evaluate on them.

    Parameters
    ----------
    folder : pathlib.Path
        Empty; everything goes there.
    root : str
        The checkout; empty: none, and nothing of it is run.
    """

    folder: Path
    root: str = field(default_factory=lambda: os.environ.get("EDGEFLOWNAS_ROOT", ""))
    tree: Mapping[str, Any] = field(default_factory=lambda: _TREE)
    frame: tuple[int, int] = _FRAME

    def __post_init__(self) -> None:
        from harness.evaluation.ranking import build_pool

        self.config = self._written()
        pool = build_pool(seed=self.config.runtime.seed, size=12)
        self.pool = [list(arch) for arch in pool]
        self._number = 0
        self._save_run()
        if self.root:
            self._save_for_theirs()

    def __call__(self, whom: str, rounds: int) -> Iterator[dict[str, Any]]:
        """Yield what processes found, each of ``real``, ``dense``, ``ours`` or ``space``."""
        for _ in range(rounds):
            self._number += 1
            yield self._run(whom, self.folder / f"{whom}-{self._number}.json")

    def spent(self, names: Sequence[str], rounds: int) -> dict[str, Spent]:
        """Run each `rounds` times, in turn, so that a slow spell of the machine meets all."""
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for _ in range(rounds):
            for name, kept in found.items():
                kept += self(name, 1)
        return {
            name: Spent(
                tuple(one["cold"] for one in each), tuple(one["steady"] for one in each),
                tuple(each[-1]["scores"]),
            )
            for name, each in found.items()
        }  # fmt: skip

    def _run(self, whom: str, out: Path) -> dict[str, Any]:
        task: dict[str, Any] = {"out": str(out), "weights": str(self.folder / "weights.npz")}
        if whom == "real":
            return self._theirs(task | {"do": "evaluate", **self._words()})
        task |= {
            "do": "dense" if whom == "dense" else "ours", "run": str(self.folder / "run"),
            "pool": self.pool, "asked": "all" if whom == "space" else "12",
            "result": str(out.with_suffix(".result.json")),
        }  # fmt: skip
        return self._process(sys.executable, "benchmarks.in_process", task)

    def _theirs(self, task: dict[str, Any]) -> dict[str, Any]:
        python = os.environ.get("EDGEFLOWNAS_PYTHON") or sys.executable
        model = {"skeleton": self.config.model.skeleton, "width": self.config.model.width}
        return self._process(
            python, "benchmarks.in_edgeflownas",
            task | model | {"root": str(Path(self.root).resolve())},
        )  # fmt: skip

    def _process(self, python: str, module: str, task: dict[str, Any]) -> dict[str, Any]:
        """Run a child with a task of its own and return what it wrote.

        Raises
        ------
        RuntimeError
            If it fails, with what it said last.
        """
        out = Path(task["out"])
        path = out.with_suffix(".task.json")
        path.write_text(json.dumps(task), encoding="utf-8")
        here = Path(__file__).resolve().parent.parent
        done = subprocess.run(
            [python, "-m", module, str(path)], cwd=here, capture_output=True, text=True,
            check=False, env={**os.environ, "PYTHONPATH": str(here)},
        )  # fmt: skip
        if done.returncode != 0:
            msg = f"{python} -m {module}: exit code {done.returncode}; {done.stderr[-2000:]}"
            raise RuntimeError(msg)
        return dict(json.loads(out.read_text(encoding="utf-8"))) if out.exists() else {}

    def _written(self) -> Config:
        config = parse_config(self.tree)
        size, evaluation = config.eval_batch_size, config.eval
        height, width = self.frame
        write_dataset(
            self.folder / "frames", train=evaluation.bn_recal_batches * size,
            val=int(evaluation.eval_batches_per_arch) * size, height=height, width=width,
        )  # fmt: skip
        return with_fc2_root(config, self.folder / "frames")

    def _save_run(self) -> None:
        """Save one initial state as arrays and as a run directory."""
        from harness.training.checkpoint import CheckpointStore
        from harness.training.model import Supernet
        from harness.training.progress import Progress

        model = self.config.model
        arrays = Supernet(model.skeleton, model.width, 42).get_state()
        progress = Progress().get_state()
        run = self.folder / "run"
        CheckpointStore(run / "checkpoints").save(
            "epoch-0000-step-00000-attempt-0", arrays, progress, {}, best=True
        )
        (run / "config.yaml").write_text(dump_config(self.config), encoding="utf-8")
        kept = {name: array for name, array in arrays.items() if not name.startswith("adam/")}
        np.savez(self.folder / "weights.npz", **kept)  # type: ignore[arg-type]

    def _theirs_config(self) -> dict[str, Any]:
        config, (height, width) = self.config, self.config.eval_crop
        return {
            "runtime": {
                "seed": 42, "output_root": str(self.folder / "theirs"), "experiment_name": "run",
            },
            "train": {"batch_size": config.eval_batch_size},
            "data": {
                "base_path": str(self.folder / "frames"), "train_dir": "train", "val_dir": "val",
                "input_height": height, "input_width": width, "flow_channels": 2,
            },
            "eval": {
                "eval_pool_size": len(self.pool), "bn_recal_batches": config.eval.bn_recal_batches,
                "eval_batches_per_arch": int(config.eval.eval_batches_per_arch),
            },
        }  # fmt: skip

    def _words(self) -> dict[str, Any]:
        run = self.folder / "theirs" / "run"
        words = ["--config", str(self.folder / "theirs.json"), "--eval_only"]
        return {"words": words, "result": str(run / "supernet_eval_result_best.json")}

    def _save_for_theirs(self) -> None:
        """Write configuration, pool and a checkpoint of the same arrays, as the checkout does."""
        run = self.folder / "theirs" / "run"
        (run / "checkpoints").mkdir(parents=True)
        config = self._theirs_config()
        # JSON is YAML.
        (self.folder / "theirs.json").write_text(json.dumps(config), encoding="utf-8")
        pool = json.dumps({"pool": self.pool})
        (run / f"eval_pool_{len(self.pool)}.json").write_text(pool, encoding="utf-8")
        self._theirs(
            {
                "do": "save", "config": config, "weights": str(self.folder / "weights.npz"),
                "prefix": str(run / "checkpoints" / "supernet_best.ckpt"),
                "out": str(self.folder / "saved.json"),
            }
        )  # fmt: skip


def rows(found: Mapping[str, Spent]) -> Iterator[Row]:
    """Yield each ratio of what was run, from start to result and in steady state."""
    for part, when in (("cold", "start to result"), ("steady", "steady state")):
        seconds = {name: spent.seconds(part) for name, spent in found.items()}
        base = next(name for name in ("real", "dense", "ours") if name in found)
        if "real" in found and "dense" in found:
            held = (0.9, 1.1) if part == "steady" else (0.0, float("inf"))
            yield _row(f"dense reference over real, {when}", seconds, "dense", "real", *held)
        if "ours" in found and base != "ours":
            least = 4.0 if (base, part) == ("real", "cold") else 0.0
            yield _row(f"12 archs, {base} over ours, {when}", seconds, base, "ours", least)
        if "space" in found:
            most = 1.6 if (base, part) == ("real", "cold") else float("inf")
            name = f"19,683 archs, ours over {base} 12, {when}"
            yield _row(name, seconds, "space", base, 0.0, most)


def _row(
    name: str, seconds: Mapping[str, float], above: str, below: str, least: float,
    most: float = float("inf"),
) -> Row:  # fmt: skip
    text = f"{seconds[above]:.2f} s over {seconds[below]:.2f} s"
    return Row(name, seconds[above] / seconds[below], least, most, text)


def main() -> None:
    """Print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--space", action="store_true", help="all 19,683 archs too")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each (%(default)s)")
    asked = parser.parse_args()
    print(apply_environment(parse_config({})).line(), flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        evaluations = Evaluations(Path(folder))
        names = ["real"] * bool(evaluations.root) + ["dense", "ours"] + ["space"] * asked.space
        if not evaluations.root:
            print("EDGEFLOWNAS_ROOT names no checkout: without the real one")  # noqa: T201
        found = evaluations.spent(names, asked.rounds)
    for name, spent in found.items():
        print(f"{name}: {spent.text()}", flush=True)  # noqa: T201
    for row in rows(found):
        print(f"{row.line()}{'' if row.holds else ' -- DOES NOT HOLD'}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
