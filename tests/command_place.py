"""A folder with everything that command lines name, and commands whose work is left out."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from unittest.mock import patch

import numpy as np

from harness.config import load_config
from harness.fc2.synthetic import write_dataset
from harness.records.ledger import Ledger
from harness.require_gate import FORMAT, seal_of
from harness.training.checkpoint import CheckpointStore
from tests.foreign_runs import Made, write_edgeflownas
from tests.synthetic_run import make_records

CONFIG = """\
model: {skeleton: full, width: 8}
data: {base_path: fc2, input_height: 32, input_width: 48}
train: {num_epochs: 2, epoch_mode: full_pass, batch_size: 5, micro_batch_size: 2}
eval: {bn_recal_batches: 2, eval_batches_per_arch: 2}
"""
DEEP = "[" * 5_000


class WorkReached(BaseException):
    """Every check has passed, and the work would begin."""


def _reached(*_: object, **__: object) -> None:
    raise WorkReached


STUBS = (
    "harness.commands.evaluate.apply_environment",
    "harness.commands.budget.apply_environment",
    "harness.commands.data.apply_environment",
    "harness.commands.checkpoints.apply_environment",
    "harness.commands.faults.apply_environment",
    "harness.commands.doctor.apply_environment",
    "harness.commands.doctor._checks",
    "harness.commands.train.train_run",
    "harness.commands.clip_study.train_run",
    "harness.commands.gate_power.gate_setting",
    "harness.commands.check_adapter.gate_setting",
    "harness.commands.promises._faults",
    "harness.fc2.synthetic.write_dataset",
    "pytest.main",
)
"""Where a command's work begins."""


@contextmanager
def work_left_out() -> Iterator[None]:
    """Stop each command where its work begins; draw no plots."""
    stubs = [patch(name, _reached) for name in STUBS]
    stubs.append(patch("harness.commands.report.draw", lambda _: b""))
    for stub in stubs:
        stub.start()
    try:
        yield
    finally:
        for stub in stubs:
            stub.stop()


def make_place(folder: Path) -> Path:
    """Fill a folder: data, configurations, runs, gate files, and what is none of these."""
    folder.mkdir(parents=True)
    write_dataset(folder / "fc2", train=5, val=3, height=40, width=56)
    for name in ("no-samples", "resource-fork", "odd-names"):
        shutil.copytree(folder / "fc2", folder / name)
    for file in (folder / "no-samples" / "train").iterdir():
        file.unlink()
    (folder / "resource-fork" / "train" / "._0000000-img_0.png").write_bytes(b"\0\5\x16\7")
    (folder / "odd-names" / "train" / "x-img_0.png").write_bytes(b"")
    _write_texts(folder)
    _write_runs(folder)
    write_edgeflownas(folder / "foreign", Made(generation="902a0e1", epochs=2))
    os.mkfifo(folder / "pipe")
    (folder / "to-nowhere").symlink_to("nothing-here")
    (folder / "loop").symlink_to("loop")
    (folder / "hard-link.yaml").hardlink_to(folder / "run.yaml")
    (folder / "link.yaml").symlink_to("run.yaml")
    (folder / "folder").mkdir()
    (folder / "folder.py").mkdir()
    return folder


def _write_texts(folder: Path) -> None:
    texts = {
        "run.yaml": CONFIG, "empty": "", "deep.yaml": f"train: {DEEP}",
        "deep.json": DEEP, "list.json": "[1]",
        "no.json": "{", "number.json": "9" * 5000, "words.json": '["012012012", "nonsense"]',
        "archs.json": '["012012012"]', "crop.yaml": CONFIG.replace("32", "33"),
        "eval-crop.yaml": CONFIG + "  \n".replace(" ", "") + "watch: {metric: off}\n",
        "date.yaml": "train: {lr: 2020-13-45}", "digits.yaml": f"runtime: {{seed: {'9' * 5000}}}",
        "no-data.yaml": CONFIG.replace("fc2", "nowhere"),
        "no-samples.yaml": CONFIG.replace("fc2", "no-samples"),
        "odd-names.yaml": CONFIG.replace("fc2", "odd-names"),
        "no-frozen.yaml": CONFIG.replace("eval: {", "eval: {frozen: nothing.npz, "),
        "old.json": "{}", "taken.py": "mine = 1\n",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "binary").write_bytes(bytes(range(256)) * 9)
    half = {"format": FORMAT, "relations": {}}
    gates = {
        "gate-list.json": [], "gate-half.json": {**half, "seal": seal_of(half)},
        "gate-types.json": _sealed({**half, "relations": {"a": 3}}),
    }  # fmt: skip
    for name, content in gates.items():
        (folder / name).write_text(json.dumps(content))


def _sealed(gate: dict[str, object]) -> dict[str, object]:
    return {**gate, "seal": seal_of(gate)}


def _write_runs(folder: Path) -> None:
    run = folder / "run"
    run.mkdir()
    ledger = Ledger(run / "ledger.jsonl")
    for record in make_records():
        ledger(record)
    ledger.close()
    (run / "config.yaml").write_text(CONFIG)
    (run / "epochs.csv").write_text("epoch\n")
    tree = load_config(run / "config.yaml").model_dump(mode="json", by_alias=True)
    store = CheckpointStore(run / "checkpoints")
    name = "epoch-0001-step-00000-attempt-1"
    progress = {"epoch": 1, "step": 0, "global_step": 3}
    store.save(name, {"w": np.zeros(3, np.float32)}, progress, {"config": tree}, best=True)
    (folder / "other-run").mkdir()
    shutil.copy(run / "ledger.jsonl", folder / "other-run" / "ledger.jsonl")
    (folder / "no-run").mkdir()
    (folder / "no-run" / "config.yaml").write_text("- 1")


@dataclass
class Seen:
    """What a folder held: each file's content and time, by name."""

    folder: Path
    files: dict[str, tuple[object, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Seen":
        return cls(folder, dict(_entries(folder)))

    def changed(self, *, but: tuple[str, ...] = ()) -> list[str]:
        """Return the names of entries that were changed or removed since."""
        now = dict(_entries(self.folder))
        return sorted(n for n, e in self.files.items() if now.get(n) != e and n not in but)

    def new(self) -> list[str]:
        """Return the names of entries that were not there."""
        return sorted(dict(_entries(self.folder)).keys() - self.files.keys())


def _entries(folder: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            stat = path.lstat()
            plain = S_ISREG(stat.st_mode)
            yield (
                str(path.relative_to(folder)),
                (stat.st_mode, stat.st_ino, *((stat.st_size, stat.st_mtime_ns) if plain else ())),
            )


def outcome(main: Callable[[list[str]], int], words: list[str]) -> int | str:
    """Return the exit code of a command line, or ``"work"`` where its work would begin."""
    try:
        return main(words)
    except WorkReached:
        return "work"
    except SystemExit as error:  # --help, --version
        return f"exit {error.code}"
