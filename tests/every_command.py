"""Every command of the package, what it reads and gives, and ways in which it may be cut short."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config import dump_config, with_overrides
from harness.fc2.synthetic import write_dataset
from harness.promises.setting import matrix_config
from harness.records.ledger import Ledger
from harness.streams import integer
from tests.run_directories import require_equal
from tests.synthetic_run import make_records

ROOT = Path(__file__).parents[1]
NUMPY = f"{ROOT / 'tests' / 'numpy_trainer' / 'adapter.py'}:NumpySystem"


@dataclass(frozen=True)
class Command:
    """A command, run in a folder of its own.

    Attributes
    ----------
    words : tuple of str
        Paths are relative to that folder; those of ``given`` lie outside it.
    result : str
        The file or folder that it writes.
    harms : int
        How many of the harms of a night are its.
    needs : str
        What must have been made before: ``trained``, ``gate.json``, ``imported``; or nothing.
    again : tuple of str
        Words that let it go on where its result is there.
    """

    words: tuple[str, ...]
    result: str
    harms: int = 32
    needs: str = ""
    again: tuple[str, ...] = ()


_TINY = ("--config", "{given}/tiny.yaml")
_POWER = ("--system", NUMPY, "--only", "scores-beside-names", "--json", "p.json")
EVERY = {
    "synth": Command(("fc2", "--train", "4", "--val", "3", "--size", "43x29"), "fc2"),
    "subset": Command(("{given}/fc2", "small", "--train", "3", "--val", "2"), "small"),
    "audit": Command(("{given}/run", "--json", "a.json"), "a.json"),
    "report": Command(("{given}/run", "--out", "r.html"), "r.html"),
    "view": Command(("1000001", "--fc2-root", "{given}/fc2", "--out", "v.html"), "v.html"),
    "promises": Command(("--json", "p.json"), "p.json"),
    "schema": Command(("ledger", "--json", "s.json"), "s.json"),
    "doctor": Command(("--json", "d.json"), "d.json", 16),
    "digest": Command(("{given}/trained", "--json", "d.json"), "d.json", needs="trained"),
    "require-gate": Command(
        ("{given}/gate.json", "--promise", "metric-oracle", "--json", "g.json"), "g.json",
        needs="gate.json",
    ),
    "gate": Command(
        ("--system", NUMPY, "--promise", "metric-oracle", "--gate-file", "g.json"), "g.json"
    ),
    "init-adapter": Command(("adapter.py", "--json", "i.json"), "adapter.py"),
    "check-adapter": Command((NUMPY, "--json", "c.json"), "c.json"),
    "gate-power": Command(_POWER, "p.json", 16),
    "freeze": Command((*_TINY, "--out", "f.npz"), "f.npz", 16),
    "train": Command((*_TINY, "--run", "run"), "run", 16, again=("--resume",)),
    "clip-study": Command(
        (*_TINY, "--run", "study", "--epochs", "2", "--json", "s.json"), "s.json", 12
    ),
    "eval": Command(
        ("--run", "{given}/trained", "--pool", "2", "--json", "e.json"), "e.json", 12, "trained"
    ),
    "budget": Command((*_TINY, "--pool", "2", "--json", "b.json"), "b.json", 8),
    "import-checkpoint": Command(("{given}/supernet_best.ckpt", "old"), "old", 8, "imported"),
    "faults": Command(("--only", "pool-padded", "--json", "f.json"), "f.json", 4),
}  # fmt: skip
"""By name; of all harms, half are kills."""

_VARIES = (
    "seal",
    "when",
    "write access",
    "seconds",
    "commit",
    "created",
    "time",
    "free",
    "pid",
    "noise",
    "measured",
    "advice",
)
"""Parts of the names of JSON fields that are of the clock, or of the machine's state."""


@dataclass
class Given:
    """What the commands read, and what each gives undisturbed: folder, exit code, seconds."""

    folder: Path
    straight: dict[str, tuple[Path, int, float]] = field(default_factory=dict)

    def words(self, name: str, *, again: bool = False) -> list[str]:
        more = EVERY[name].again if again else ()
        return [name, *(word.format(given=self.folder) for word in (*EVERY[name].words, *more))]


def made(folder: Path) -> Given:
    """Make what every command reads, but what takes a command of its own."""
    write_dataset(folder / "fc2", train=7, val=5, height=19, width=37)
    with contextlib.closing(Ledger(folder / "run" / "ledger.jsonl")) as ledger:
        for record in make_records(epochs=2):
            ledger(record)
    few = ("eval.eval_pool_size=3", "train.num_epochs=2", "eval.batch_size=2",
           "eval.bn_recal_batches=2", "train.batch_size=5", "checkpoint.every_steps=1")  # fmt: skip
    config = with_overrides(matrix_config(folder / "fc2"), few)
    (folder / "tiny.yaml").write_text(dump_config(config))
    return Given(folder)


def require(given: Given, needed: str) -> None:
    """Make, once, what takes a command of its own."""
    folder = given.folder
    if needed == "trained" and not (folder / "trained").exists():
        done(start(given, folder, ["train", "--config", "tiny.yaml", "--run", "trained"]))
    if needed == "gate.json" and not (folder / "gate.json").exists():
        words = ["gate", *EVERY["gate"].words[:-1], "gate.json"]
        done(start(given, folder, words))
    if needed == "imported" and not (folder / "supernet_best.ckpt.index").exists():
        code = (
            "import sys; from pathlib import Path\n"
            "from tests.edgeflownas_checkpoints import *\n"
            "write(tensorflow_and_reader(), Path(sys.argv[1]), variables('bilinear', 2))"
        )
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True)


def start(given: Given, folder: Path, words: Sequence[str], *before: str, **how: Any) -> Any:
    """Start a command in a folder; `before` are words of ``tests.dying``."""
    kept = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    code = ["-m", "tests.dying", *before] if before else ["-m", "harness"]
    return subprocess.Popen(
        [sys.executable, *code, *words], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**kept, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}, **how,
    )  # fmt: skip


def done(process: Any) -> tuple[int, str, str]:
    """Wait for a process; return its exit code and what it said."""
    out, error = process.communicate(timeout=600)
    return process.returncode, out, error


def undisturbed(given: Given, name: str, folder: Path) -> tuple[Path, int, float]:
    """Run a command as a whole, once."""
    if name not in given.straight:
        require(given, EVERY[name].needs)
        folder.mkdir()
        begun = time.monotonic()
        code, out, error = done(start(given, folder, given.words(name)))
        assert code in (0, 1), out + error
        assert "Traceback" not in out + error
        given.straight[name] = folder, code, time.monotonic() - begun
    return given.straight[name]


# ---- harms


Harm = Callable[[Given, Path, list[str], "Draw"], Any]


@dataclass(frozen=True)
class Draw:
    """Numbers of one harm, and how long the command takes, s."""

    seconds: float
    numbers: Sequence[int]

    @property
    def moment(self) -> float:
        return 0.2 + self.seconds * self.numbers[0] / 1000


def killed_at_a_moment(given: Given, folder: Path, words: list[str], draw: Draw) -> Any:
    return _signalled(start(given, folder, words), draw, [signal.SIGKILL])


def killed_in_a_call(given: Given, folder: Path, words: list[str], draw: Draw) -> Any:
    call = draw.numbers[1] % 40  # of those by which it changes files; where there are fewer, none
    return done(start(given, folder, words, str(folder), str(call)))


def asked_to_end(given: Given, folder: Path, words: list[str], draw: Draw) -> Any:
    number = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[draw.numbers[1] % 3]
    times = 1 + draw.numbers[2] % 2
    return _signalled(start(given, folder, words), draw, [number] * times)


def on_a_full_disk(given: Given, folder: Path, words: list[str], draw: Draw) -> Any:
    size = (0, 100, 1000, 10_000, 100_000)[draw.numbers[1] % 5]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return done(start(given, folder, words, preexec_fn=limited))


def _signalled(process: Any, draw: Draw, numbers: Sequence[int]) -> Any:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=draw.moment)
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.05)
    return done(process)


HARMS: tuple[Harm, ...] = (killed_at_a_moment, asked_to_end, killed_in_a_call, on_a_full_disk)


def harmed(given: Given, name: str, folder: Path, number: int, harm: Harm) -> str:
    """Do one harm to a command, let it go on, and require what it gives undisturbed.

    Returns
    -------
    str
        How the harmed one ended: its exit code, or the signal.
    """
    straight, code, seconds = undisturbed(given, name, folder.with_name(f"{name}-straight"))
    folder.mkdir()
    numbers = integer(11, f"harms/{name}", 0, number, below=[1000, 1000, 1000])
    found, out, error = harm(given, folder, given.words(name), Draw(seconds, numbers))
    require_told(name, found, code, out, error)
    for _ in range(2):
        words = given.words(name, again=(folder / EVERY[name].result / "config.yaml").exists())
        last, out, error = done(start(given, folder, words))
        if last == code:
            break
    assert last == code, out + error
    require_same(name, folder, straight)
    return str(found)


def require_told(name: str, found: int, code: int, out: str, error: str) -> None:
    """Require that a command which did not end by itself said why in a line."""
    # One that comes while Python itself starts is Python's to answer.
    assert "Traceback" not in error or f"{ROOT}/harness/" not in error, error
    if found in (code, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP):
        return
    assert found in (2, 75), out + error
    lines = [line for line in error.splitlines() if line.startswith(f"harness {name}: ")]
    said = lines or [line for line in out.splitlines() if "to go on: " in line or "goes on" in line]
    assert len(said) == 1 or "interrupted before it began" in error, out + error
    if found == 2 and lines:
        full = ("File too large", "No space left", "cannot", "No usable temporary directory")
        assert any(text in lines[0] for text in full), error


def require_same(name: str, folder: Path, straight: Path) -> None:
    result = EVERY[name].result
    if name == "train":
        require_equal(folder / result, straight / result)
        return
    ours, theirs = (_contents(one / result) for one in (folder, straight))
    if name == "budget":  # seconds, and what follows from them
        ours, theirs = ({path: set(tree) for path, tree in one.items()} for one in (ours, theirs))
    assert ours == theirs


def _contents(path: Path) -> dict[str, Any]:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {p.relative_to(path).as_posix(): _content(p) for p in files if p.name != ".lock"}


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return _steady(json.loads(path.read_text(encoding="utf-8")))
    return path.read_bytes()


def _steady(tree: Any) -> Any:
    """Return a JSON tree without what is of the clock."""
    if isinstance(tree, dict):
        return {
            key: _steady(value) for key, value in tree.items()
            if not any(part in key for part in _VARIES)
        }  # fmt: skip
    return [_steady(item) for item in tree] if isinstance(tree, list) else tree
