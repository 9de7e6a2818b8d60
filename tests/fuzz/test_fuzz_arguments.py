"""Random command lines: each ends with a code that is declared, in one line, and changes nothing.

Work is left out where it would begin (``tests/command_place.py``), so that what is tried is
everything that happens before. A case is made of the seed (``SAMEBITS_FUZZ_SEED``) and its number,
and `command_line` makes it again; how many are tried stands in ``SAMEBITS_FUZZ_COUNT``.
"""

import contextlib
import io
import os
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from harness.cli import main
from tests.command_place import Seen, make_place, outcome, work_left_out
from tests.fuzz.fuzzing import OTHERS, counts, seed

BASES = (
    "synth new --train 2 --val 1 --size 48x32 --seed 3 --look even",
    "subset fc2 new --train 2 --val 1 --seed 3",
    "train --config run.yaml --run new --epochs 1",
    "train --config run.yaml --fc2-root fc2 --run run --resume --segment b --set train.lr=1e-3",
    "train --config run.yaml --run new --require-gate gate-list.json --accept-known-defects",
    "eval --run run --checkpoint last --pool 12 --batches-per-arch full --recal-batches 2",
    "eval --run run --fc2-root fc2 --pool archs.json --json new.json",
    "budget --config run.yaml --run run --checkpoint best --tau 0.9 --time-limit 3 --out new.svg",
    "freeze --config run.yaml --fc2-root fc2 --out new.npz --json new.json",
    "clip-study --config run.yaml --run new --epochs 1 --segment b",
    "import-checkpoint nothing new --config run.yaml",
    "digest run run --json new.json", "digest run/checkpoints/last",
    "audit run --json new.json", "audit run/ledger.jsonl",
    "audit foreign --config run.yaml --set train.micro_batch_size=4 --zero-flow 3 --json new.json",
    "audit foreign/eval_epe_history.csv --column epe=mean_epe_12 --fc2-root fc2",
    "report run foreign --zero-flow 3 --out new.html",
    "clip-study --advise foreign --json new.json", "clip-study --advise run --json new.json",
    "report run other-run --out new.html --across-segments --json new.json",
    "faults --only pool-padded --tier full --mode both --jobs 2 --json new.json",
    "faults --clean 3 --cover --quick", "faults --resume --json old.json",
    "gate --system builtin --tier smoke --config run.yaml --fc2-root fc2 --gate-file new.json",
    "gate --system builtin --tier smoke --pictures new",
    "require-gate gate-half.json --system builtin --code . --config run.yaml --data fc2",
    "init-adapter --numpy new.py --json new.json",
    "check-adapter nothing.py:A --config run.yaml --json new.json",
    "gate-power --system builtin --config run.yaml --only nothing --json new.json",
    "promises metric-oracle", "schema ledger --json new.json",
    "doctor --run folder --against run",
)  # fmt: skip
NUMBERS = (
    "0", "1", "-1", "2", "1.5", "nan", "inf", "-inf", "1e400", "1e-400", "9" * 5000, "²", "٣",
    "1_0", "0x1", "012", " 1", "1 ", "+1", "--1", "", "1e3", "9223372036854775808", "1000000001",
    "12:30", "999999x999999", "16x16", "x", "1x", "64X64", "full", "all", "true", "None",
)  # fmt: skip
PATHS = (
    "run", "fc2", "run.yaml", "new", "new.json", "folder", "pipe", "loop", "to-nowhere", "empty",
    "", "binary", "deep.yaml", "deep.json", "gate-list.json", "gate-half.json", "gate-types.json",
    "number.json", "no.json", "list.json", "words.json", "date.yaml", "digits.yaml", "crop.yaml",
    "no-data.yaml", "no-samples.yaml", "odd-names.yaml", "no-frozen.yaml", "no-run", "no-samples",
    "resource-fork", "other-run", "hard-link.yaml", "link.yaml", "run/ledger.jsonl", "old.json",
    "run/config.yaml", "run/checkpoints", "run/checkpoints/last", "run/x.scores.jsonl",
    "foreign", "foreign/train.log", "foreign/run_manifest.json", "foreign/eval_epe_history.csv",
    "fc2/train", "fc2/train/x", "fc2/train/0000000-img_0.png", "nowhere/x", "run.yaml/x", ".", "..",
    "/", "/dev/null", "/dev/zero", "/dev/full", "/proc/self/mem", "/dev/stdin/x", "a" * 300,
    "a/" * 2100, "$NOPE/a", "$HOME", "${", "~", "~nobody-of-this-name", "a\0b", "caf\udce9",
    "\ud800", "\x1b[31m", "a\nb", "-", "--", "-x", "run//", "./run/../run", "best", "last",
)  # fmt: skip
WORDS = (
    "--json", "--help", "--version", "--nope", "--set", "--config", "--run", "--out", "--pool",
    "--resume", "--fc2-root", "--checkpoint", "--write", "--gate-file", "--list", "--frozen",
    "--promise", "--only", "--column", "--advise", "--fault", "-h", "@run.yaml", "builtin",
    "edgeflownas", "a:b", "a.py:b", "--pictures",
)  # fmt: skip
ASSIGNMENTS = (
    "train.lr=1e-3", "train.lr=nan", "train.lr", "=", "train.lr=", "a.b.c.d=1", "train=1",
    "watch.metric=off", "watch.metric=false", "model.width=1000000000", "runtime.threads=100000",
    "runtime.seed=" + "9" * 5000, "train.lr=2020-13-45", "eval.crop=[33, 48]", "eval.frozen=binary",
    "data.base_path=$NOPE", "data.base_path=~", "train.lr=[[[[[[[[[[[[[[[[[[[[[[", "train.lr=*a",
    "runtime.output_root=fc2/train", "train.batch_size=012", "train.lr=\0", "train.lr={a: &a [*a]}",
)  # fmt: skip
CODES = {0, 1, 2, "work", "exit 0"}
"""What a command line without work may end with; 70 is a mistake of ours."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("arguments") / "place")


def command_line(case):
    """Return the command line of a case."""
    random = Random(f"arguments {seed()} {case}")
    words = random.choice(BASES).split()
    pools = (NUMBERS, PATHS, PATHS, WORDS, ASSIGNMENTS)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        at = random.randrange(len(words))
        value = random.choice(random.choice(pools))
        change = random.randrange(6)
        if change <= 1:
            words[at] = value
        elif change == 2:
            words.insert(at + 1, value)
        elif change == 3 and len(words) > 1:
            del words[at]
        elif change == 4:
            other = random.randrange(len(words))
            words[at], words[other] = words[other], words[at]
        else:
            words += [random.choice(WORDS[:21]), value]
    return words


def try_case(words, place, before):
    """Return what is wrong with how a command line ends, empty where nothing is."""
    out, error = io.StringIO(), io.StringIO()
    start = time.monotonic()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = outcome(main, words)
    except BaseException as caught:  # noqa: BLE001 -- whatever comes out is the finding
        return "raised", f"raised {type(caught).__name__}: {caught}"
    wrong = []
    lines = error.getvalue().splitlines()
    if code not in CODES:
        wrong.append(f"ended with {code}")
    if len(lines) != (code == 2):
        wrong.append(f"ended with {code} and said {lines[:3]}")
    if any("Traceback" in line for line in (*lines, *out.getvalue().splitlines())):
        wrong.append("a traceback")
    if time.monotonic() - start > 30:
        wrong.append(f"took {time.monotonic() - start:.0f} s")
    # A result of an earlier command may be replaced by name.
    # An output may replace another, or an empty file, with which nothing is lost.
    changed = [n for n in before.changed(but=("empty",)) if "/" in n or not n.endswith(".json")]
    if changed:
        wrong.append(f"changed {changed[:3]}")
    new = before.new()
    if new and code in (2, "work"):
        wrong.append(f"ended with {code} and made {new[:3]}")
    clear(place, new)
    return code, "; ".join(wrong)


def clear(place, names):
    for name in sorted(names, reverse=True):
        path = Path(place, name)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


@counts(OTHERS, few=60)
def test_no_command_line_ends_in_a_traceback_or_changes_what_it_reads(
    place, count, monkeypatch, tmp_path
):
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NOPE", raising=False)
    ends, findings = Counter(), []
    with work_left_out(), open(os.devnull) as nothing:  # noqa: PTH123
        monkeypatch.setattr("sys.stdin", nothing)
        before, reader = Seen.of(place), os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
        for case in range(count):
            words = command_line(case)
            code, wrong = try_case(words, place, before)
            with contextlib.suppress(BlockingIOError):  # what is written there, somebody takes
                os.read(reader, 2**20)
            ends[code] += 1
            if wrong:
                findings.append(f"case {case}: {wrong}: {[w[:60] for w in words]}")
            if code != 2:
                before = Seen.of(place)
    os.close(reader)
    print(f"fuzz arguments: {count} command lines, seed {seed()}: {dict(ends)}")  # noqa: T201
    assert not findings, f"{len(findings)} of {count}\n" + "\n".join(findings[:20])
    assert ends[2] > ends["work"] > 0
