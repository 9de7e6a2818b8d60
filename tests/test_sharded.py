"""``--cluster local``: jobs of this machine, one of them killed, and the same bytes at the end."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.test_whole_space import HARNESS, run, trained

__all__ = ["trained"]

pytestmark = pytest.mark.nightly
pytest.importorskip("submitit")
ALL = ("--checkpoint", "last", "--pool", "all")


def holder(path: Path) -> int | None:
    """Return a process, but not this one's child, that has a file open."""
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if descriptor.readlink() == path:
                return int(descriptor.parts[2])
        except OSError:  # it has ended, or closed it
            continue
    return None


def killed_once(words: list[object], path: Path, lines: int, by: signal.Signals) -> str:
    """Run a command, end whoever writes to a file once it has so many lines, and return its say."""
    process = subprocess.Popen(
        [*HARNESS, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    limit, victim = time.monotonic() + 240, None
    while victim is None and process.poll() is None and time.monotonic() < limit:
        if path.exists() and path.read_bytes().count(b"\n") > lines:
            victim = holder(path.resolve())
        time.sleep(0.01)
    if victim is not None:
        os.kill(victim, by)
    output, _ = process.communicate(timeout=280)
    assert victim not in (None, process.pid), output
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def single(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    run("eval", "--run", trained, *ALL, "--json", folder / "a.json", "--csv", folder / "a.csv")
    return folder


def results(file: Path) -> dict[str, object]:
    found = json.loads(file.read_text())
    # The seal is of its seconds, too.
    timed = {key for key in found if key.endswith("_seconds")} | {"seal"}
    return {key: value for key, value in found.items() if key not in timed}


@pytest.mark.parametrize(
    "count", [3, *(pytest.param(n, marks=pytest.mark.nightly) for n in (1, 2, 7))]
)
def test_sharded_equals_single_byte_for_byte_with_one_shard_killed(
    count: int, trained: Path, single: Path, tmp_path: Path
) -> None:
    victim = tmp_path / f"a.{(count + 1) // 2}-of-{count}.scores.jsonl"
    given = ["eval", "--run", trained, *ALL, "--json", tmp_path / "a.json",
             "--csv", tmp_path / "a.csv", "--cluster", "local", "--jobs", count]  # fmt: skip
    text = killed_once(given, victim, 5, signal.SIGKILL)
    assert text.count("submitted again") == 1
    assert f"shard {(count + 1) // 2}/{count}: lost (" in text
    for name in ("a.scores.jsonl", "a.csv"):
        assert (tmp_path / name).read_bytes() == (single / name).read_bytes()
    assert results(tmp_path / "a.json") == results(single / "a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json", "a.scores.jsonl"]


def test_runs_of_seeds_are_those_trained_alone_where_one_was_cut(
    trained: Path, tmp_path: Path
) -> None:
    config = trained.parent / "run.yaml"
    seeds = ["train", "--config", config, "--epochs", 3, "--run", tmp_path / "all", "--seeds", 3, 5,
             "--cluster", "local", "--json", tmp_path / "all.json"]  # fmt: skip
    cut = tmp_path / "all" / "seed-5"
    text = killed_once(seeds, cut / "ledger.jsonl", 2, signal.SIGTERM)
    assert "seed 5: lost (ended without a result" not in text
    assert text.count("seed 5: lost (") == 1
    found = json.loads((tmp_path / "all.json").read_text())
    assert [(one["seed"], one["exit_code"], one["starts"]) for one in found["runs"]] == [
        (3, 0, 1), (5, 0, 2),
    ]  # fmt: skip
    run("train", "--config", config, "--epochs", 3, "--set", "runtime.seed=5", "--run",
        tmp_path / "alone")  # fmt: skip
    run("digest", tmp_path / "alone", cut)
    assert run("audit", cut)


@pytest.mark.nightly
def test_an_interrupt_keeps_what_is_scored_and_the_same_command_goes_on(
    trained: Path, single: Path, tmp_path: Path
) -> None:
    words = [*HARNESS, "eval", "--run", str(trained), *ALL, "--json", str(tmp_path / "a.json"),
             "--cluster", "local", "--jobs", "2"]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    part = tmp_path / "a.1-of-2.scores.jsonl"
    while process.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") > 9):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert "interrupted; what is scored is kept, and the same command goes on: harness" in output
    assert holder(part.resolve()) is None
    before = part.read_bytes()
    run(*words[3:])
    assert before.count(b"\n") > 9
    name = "a.scores.jsonl"
    assert (tmp_path / name).read_bytes() == (single / name).read_bytes()
