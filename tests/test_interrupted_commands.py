"""Commands that are killed, or find the disk full, leave old or new, and complete when repeated."""

import contextlib
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.asides import is_aside
from harness.cli import main
from harness.commands.common import write_json
from harness.config import dump_config
from harness.fc2.synthetic import write_dataset
from harness.promises.setting import embedded_config
from harness.records.ledger import Ledger
from harness.streams import integer
from harness.whole import list_entries
from tests.dying import Killed, dead_at_name, device
from tests.full_disks import full_after, small_device
from tests.run_directories import CLOCK
from tests.synthetic_run import make_records

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Command:
    """A command, run in a folder of its own.

    Attributes
    ----------
    words : tuple of str
        Paths are relative to that folder; those of ``given`` lie outside it.
    results : tuple of str
        The names that it writes.
    old : tuple of str
        Those of them that may be there before, and are replaced.
    quick : bool
        Whether it needs no trained run.
    """

    words: tuple[str, ...]
    results: tuple[str, ...]
    old: tuple[str, ...] = ()
    quick: bool = True


SYNTH = Command(("synth", "fc2", "--train", "4", "--val", "3", "--size", "43x29"), ("fc2",))
COMMANDS = {
    "synth": SYNTH,
    "subset": Command(
        ("subset", "{given}/fc2", "small", "--train", "3", "--val", "2", "--json", "j.json"),
        ("small", "j.json"), ("j.json",),
    ),
    "report": Command(
        ("report", "{given}/run", "--out", "r.html", "--json", "r.json"), ("r.html", "r.json"),
        ("r.html", "r.json"),
    ),
    "freeze": Command(
        ("freeze", "--config", "{given}/config.yaml", "--out", "f.npz", "--json", "j.json"),
        ("f.npz", "j.json"), ("j.json",),
    ),
    "eval": Command(
        ("eval", "--run", "{given}/trained", "--pool", "2", "--json", "e.json"), ("e.json",),
        ("e.json",), quick=False,
    ),
}  # fmt: skip
QUICK = [name for name, command in COMMANDS.items() if command.quick]


@dataclass
class Given:
    """What the commands read, and what they give undisturbed, by name of the command."""

    folder: Path
    straight: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def words(self, name: str) -> list[str]:
        return [word.format(given=self.folder) for word in COMMANDS[name].words]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, embedded_frames: Path) -> Given:
    folder = tmp_path_factory.mktemp("given")
    write_dataset(folder / "fc2", train=5, val=3, height=29, width=43)
    ledger = Ledger(folder / "run" / "ledger.jsonl")
    for record in make_records(epochs=2):
        ledger(record)
    ledger.close()
    (folder / "config.yaml").write_text(dump_config(embedded_config(embedded_frames)))
    return Given(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file, without the times that an evaluation took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        if path.name == "e.json" and content.startswith(b"{"):
            tree = {k: v for k, v in json.loads(content).items() if k not in CLOCK}
            content = json.dumps(tree).encode()
        if not path.is_dir():
            found[path.relative_to(folder).as_posix()] = content
    return found


def prepare(folder: Path, name: str) -> Path:
    folder.mkdir()
    for old in COMMANDS[name].old:
        (folder / old).write_bytes(b"old\n")
    return folder


def under(found: dict[str, bytes], result: str) -> dict[str, bytes]:
    return {n: c for n, c in found.items() if n == result or n.startswith(f"{result}/")}


def require_old_or_new(folder: Path, name: str, straight: dict[str, bytes]) -> None:
    found = contents(folder)
    for result in COMMANDS[name].results:
        before = {result: b"old\n"} if result in COMMANDS[name].old else {}
        assert under(found, result) in (before, under(straight, result)), f"{result}: a mixture"
    others = {n.split("/")[0] for n in found} - set(COMMANDS[name].results)
    assert all(map(is_aside, others))


# ---- in one process


def undisturbed(given: Given, name: str, folder: Path) -> dict[str, bytes]:
    """Run a command once as a whole, in the present folder's sibling, and keep what it gave."""
    if name not in given.straight:
        with contextlib.chdir(prepare(folder, name)):
            assert main(given.words(name)) == 0
        given.straight[name] = contents(folder)
    return given.straight[name]


@pytest.mark.parametrize("name", QUICK)
def test_a_command_killed_as_it_names_its_results_completes_when_repeated(
    name: str, given: Given, tmp_path: Path
) -> None:
    straight = undisturbed(given, name, tmp_path / "straight")
    for number in range(len(COMMANDS[name].results)):
        folder = prepare(tmp_path / str(number), name)
        with contextlib.chdir(folder):
            with dead_at_name(number, folder), pytest.raises(Killed):
                main(given.words(name))
            require_old_or_new(folder, name, straight)
            assert any(is_aside(path.name) for path in folder.iterdir())
            assert main(given.words(name)) == 0
        assert contents(folder) == straight


@pytest.mark.parametrize("name", QUICK)
def test_a_command_killed_at_its_end_completes_when_repeated(
    name: str, given: Given, tmp_path: Path
) -> None:
    straight = undisturbed(given, name, tmp_path / "straight")
    with contextlib.chdir(prepare(tmp_path / "again", name)):
        assert [main(given.words(name)) for _ in range(2)] == [0, 0]
    assert contents(tmp_path / "again") == straight


def test_a_json_file_killed_as_it_gets_its_name_is_old(tmp_path: Path) -> None:
    write_json(tmp_path / "e.json", {"epe": 1.5})
    with dead_at_name(0, tmp_path), pytest.raises(Killed):
        write_json(tmp_path / "e.json", {"epe": 2.5})
    assert json.loads((tmp_path / "e.json").read_text()) == {"epe": 1.5}
    write_json(tmp_path / "e.json", {"epe": 2.5})
    assert [path.name for path in tmp_path.iterdir()] == ["e.json"]


def test_synth_killed_between_its_splits_in_a_folder_that_is_there_completes(
    given: Given, tmp_path: Path
) -> None:
    straight = undisturbed(given, "synth", tmp_path / "straight")
    folder = prepare(tmp_path / "x", "synth")
    (folder / "fc2").mkdir()
    (folder / "fc2" / "mine").write_bytes(b"1")
    with contextlib.chdir(folder):
        with dead_at_name(1, folder), pytest.raises(Killed):
            main(given.words("synth"))
        assert list_entries(Path("fc2")) == ["mine", "train"]
        assert main(given.words("synth")) == 0
    assert contents(folder) == straight | {"fc2/mine": b"1"}


@pytest.mark.parametrize(
    ("name", "place", "message"),
    [
        ("synth", "fc2/val/mine", "fc2/val already holds files; empty it"),
        ("synth", "fc2/train/0000000-img_0.png", "fc2/train: exists and holds something else"),
        ("subset", "small/MANIFEST.tsv", "small: exists and is not this subset"),
        ("subset", "small/val/1000000-img_0.png", "small: exists and is not this subset"),
        ("subset", "small/mine", "small: exists and is not this subset"),
    ],
)
def test_what_holds_anything_else_is_refused_and_left_alone(
    name: str, place: str, message: str, given: Given, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = prepare(tmp_path / "x", name)
    with contextlib.chdir(folder):
        assert main(given.words(name)) == 0
        Path(place).write_bytes(b"other")
        before = contents(folder)
        assert main(given.words(name)) == 2
    assert contents(folder) == before
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("name", QUICK)
def test_a_full_disk_is_one_line_that_names_the_result(
    name: str, given: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = undisturbed(given, name, tmp_path / "straight")
    folder = prepare(tmp_path / "x", name)
    with contextlib.chdir(folder), full_after(100):
        assert main(given.words(name)) == 2
    require_old_or_new(folder, name, straight)
    assert not any(is_aside(path.name) for path in folder.iterdir())
    require_one_line(capsys.readouterr().err, name)
    with contextlib.chdir(folder):
        assert main(given.words(name)) == 0
    assert contents(folder) == straight


def require_one_line(error: str, name: str) -> None:
    assert len(error.splitlines()) == 1, error
    assert error.startswith(f"harness {name}: ")
    assert any(result in error for result in COMMANDS[name].results)
    assert "File too large" in error or "No space left" in error
    assert ".part" not in error


# ---- in processes that are killed


def start(given: Given, name: str, folder: Path, *before: str, **how: Any) -> Any:
    kept = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    code = ["-m", "harness"] if not before else ["-m", "tests.dying", *before]
    return subprocess.Popen(
        [sys.executable, *code, *given.words(name)], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**kept, "PYTHONPATH": str(Path(__file__).parents[1])}, **how,
    )  # fmt: skip


def require_given(given: Given, name: str) -> None:
    """Train, once, where a command needs a run."""
    run = given.folder / "trained"
    if not COMMANDS[name].quick and not run.exists():
        words = ["train", "--config", str(given.folder / "config.yaml"), "--run", str(run)]
        subprocess.run([sys.executable, "-m", "harness", *words], check=True, capture_output=True)


def ended(process: Any, code: int) -> tuple[str, str]:
    out, error = process.communicate(timeout=300)
    assert process.returncode == code, out + error
    return out, error


KILLS = {"synth": 8, "subset": 8, "report": 6, "freeze": 4, "eval": 4}


@pytest.mark.nightly
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_random_moments_completes_when_repeated(
    name: str, given: Given, tmp_path: Path
) -> None:
    require_given(given, name)
    folder, begun = prepare(tmp_path / "straight", name), time.monotonic()
    out, _ = ended(start(given, name, folder, str(folder), "-1"), 0)
    seconds, calls = time.monotonic() - begun, int(out.splitlines()[-1])
    straight = contents(folder)
    for number in range(KILLS[name]):
        folder = prepare(tmp_path / str(number), name)
        call, wait = integer(5, f"kills/{name}", 0, number, below=[calls, 1000])
        if number % 2:  # at one of the calls by which it changes files
            process = start(given, name, folder, str(folder), str(call))
        else:  # at any time
            process = start(given, name, folder)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=seconds * wait / 1000)
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=300)
        assert process.returncode in (-signal.SIGKILL, 0)
        require_old_or_new(folder, name, straight)
        ended(start(given, name, folder), 0)
        assert contents(folder) == straight


def gate(*words: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "invariants", *words],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_gate_file_that_cannot_be_is_said_before_the_gate_and_no_device_is_removed(
    tmp_path: Path,
) -> None:
    (tmp_path / "link").symlink_to(device(tmp_path, "null"))
    assert gate("--collect-only", "--gate-file", str(tmp_path / "link")).returncode == 0
    assert stat.S_ISCHR((tmp_path / "link").stat().st_mode)
    done = gate("--gate-file", str(tmp_path / "no" / "gate.json"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no/gate.json: not written: there is no folder" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.nightly
def test_a_gate_file_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(device(tmp_path, "full"))
    done = gate("-k", "ledger-finite", "--gate-file", str(tmp_path / "link"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "link: not written: No space left on device" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.slow
def test_a_gate_whose_frames_find_no_room_breaks_no_promise(tmp_path: Path) -> None:
    system = str(ROOT / "tests" / "numpy_trainer" / "adapter.py") + ":NumpySystem"
    done = subprocess.run(
        [sys.executable, "-m", "harness", "gate", "--system", system, "--promise", "metric-oracle"],
        cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=limited(1000),
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.match(
        r"harness gate: the gate's frames: .*File too large.*; TMPDIR names another", done.stderr
    )
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in QUICK])
def test_a_full_disk_is_one_line_of_a_command_in_its_own_process(
    name: str, given: Given, tmp_path: Path
) -> None:
    require_given(given, name)
    folder = prepare(tmp_path / "x", name)
    process = start(given, name, folder, preexec_fn=limited(200))
    require_one_line(ended(process, 2)[1], name)
    assert contents(folder) == dict.fromkeys(COMMANDS[name].old, b"old\n")
    ended(start(given, name, folder), 0)


@pytest.mark.nightly
@pytest.mark.parametrize("name", COMMANDS)
def test_a_device_without_space_is_one_line(name: str, given: Given, tmp_path: Path) -> None:
    require_given(given, name)
    with small_device(tmp_path, 4 if name == "eval" else 8) as mounted:
        folder = prepare(mounted / "x", name)
        before = contents(folder)
        require_one_line(ended(start(given, name, folder), 2)[1], name)
        assert contents(folder) == before
        subprocess.run(["mount", "-o", "remount,size=9m", str(mounted)], check=True)
        ended(start(given, name, folder), 0)
        assert all((folder / result).exists() for result in COMMANDS[name].results)
        assert not any(content == b"old\n" for content in contents(folder).values())
