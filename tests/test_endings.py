"""How a command ends: an exit code that says what happened, one line, and nothing that is lost."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from harness import console
from harness.cli import main
from harness.commands import audit, endings, schema
from harness.commands.endings import ended
from harness.console import say
from harness.environment import EnvironmentMismatchError
from harness.errors import InputError, NotApplicableError, WatchError
from harness.require_gate import GateError
from harness.systems.process import WorkerError
from harness.whole import NotWrittenError


def raising(error):
    def run():
        raise error

    return run


def ended_by(error, capsys):
    code = ended("harness audit", raising(error))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("harness audit: ")
    return code, lines[0].removeprefix("harness audit: ")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("a: expected b\nfound c"), 2, "a: expected b found c"),
        (EnvironmentMismatchError("no GPU"), 2, "no GPU"),
        (WorkerError("it ended:\nTraceback\n  File x"), 2, "it ended: Traceback File x"),
        (GateError("gate.json: red"), 2, "gate.json: red"),
        (NotApplicableError("no pool"), 2, "no pool"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), 2, "a/b: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device", b"a"), 2, "a: No space left on device"),
        (OSError(errno.EXDEV, "Invalid link", "a", None, "b"), 2, "a -> b: Invalid link"),
        (OSError(errno.EIO, "Input/output error"), 2, "Input/output error"),
        (FileNotFoundError("no such folder: x"), 2, "no such folder: x"),
        (OSError(), 2, "OSError"),
        (
            NotWrittenError(errno.ENOSPC, "full", "x.json"),
            2,
            "x.json: not written: full; make room",
        ),
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), 2, "harness doctor"),
        (ImportError("libGL.so.1: cannot open"), 2, "libGL.so.1: cannot open"),
        (MemoryError(), 2, "out of memory (pid "),
        (MemoryError("Unable to allocate 7 TiB"), 2, "Unable to allocate 7 TiB"),
        (RuntimeError("can't start new thread"), 2, "the system starts no more"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 2, "whoever reads the output has gone"),
        (FloatingPointError("NaN in E0"), 1, "NaN in E0"),
        (WatchError("epoch 2, stats_digest"), 1, "epoch 2, stats_digest"),
        (KeyboardInterrupt(), 75, "interrupted"),
        (InputError("\x1b[31m\x07 and \ud800"), 2, r"\x1b[31m\x07 and \ud800"),
        (InputError("x" * 10**6), 2, "(1000000 characters)"),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, BaseException) else "",
)
def test_what_is_expected_to_fail_is_one_line(error, code, said, capsys):
    found, line = ended_by(error, capsys)
    assert found == code
    assert said in line
    assert len(line) < 5000


class NoDeterministicKernelError(RuntimeError):
    """Named as ours, whose module imports TensorFlow."""


def test_an_error_of_a_module_with_tensorflow_is_known_by_its_name(capsys):
    assert ended_by(NoDeterministicKernelError("no kernel"), capsys) == (2, "no kernel")


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), KeyError("tier"), RecursionError("deep"), TypeError(), RuntimeError("a\nb"),
     AssertionError("c"), np.exceptions.AxisError("axis"), ImportError("x", name="harness.y")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_nobody_expected_is_one_line_that_names_a_file_with_its_traceback(
    error, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code, line = ended_by(error, capsys)
    (file,) = tmp_path.iterdir()
    assert code == 70
    assert type(error).__name__ in line
    assert line.endswith(f"please report {file}")
    text = file.read_text()
    assert "raise error" in text
    assert f"Python {sys.version.split()[0]}" in text
    assert "harness audit: " in text


def test_where_the_folder_takes_no_file_temporary_ones_do(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    code, line = ended_by(ValueError("x"), capsys)
    (file,) = (tmp_path / "temporary").iterdir()
    assert (code, line.endswith(str(file))) == (70, True)


def test_where_nothing_takes_a_file_the_traceback_follows_the_line(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(endings, "write_text", full)
    assert ended("harness audit", raising(ValueError("x"))) == 70
    lines = capsys.readouterr().err.splitlines()
    assert "no folder takes its traceback" in lines[0]
    assert lines[-1] == "ValueError: x"
    assert list(tmp_path.iterdir()) == []


def test_a_command_goes_through_this_one_place(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audit, "ledger_file", broken)
    assert main(["audit", "."]) == 70
    assert capsys.readouterr().err.startswith("harness audit: a mistake of this program, KeyError")


def broken(_):
    raise KeyError("a")


# ---- standard output


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
def test_what_nobody_reads_is_dropped_and_the_work_goes_on(number, monkeypatch):
    def gone(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(console, "_write", gone)
    monkeypatch.setattr(console, "_to_nowhere", lambda _: None)
    say("a")


def test_output_onto_a_full_disk_is_named(monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(console, "_write", full)
    monkeypatch.setattr(console, "_to_nowhere", lambda _: None)
    assert main(["schema", "ledger"]) == 2
    assert capsys.readouterr().err == "harness schema: standard output: No space left on device\n"


def test_a_name_that_is_no_text_is_shown_all_the_same(monkeypatch, capsys):
    monkeypatch.setattr(schema, "say", say)
    say("caf\udce9 µ")
    assert capsys.readouterr().out in ("caf\\udce9 µ\n", "caf\\udce9 \\xb5\n")


def piped(words, folder, **options):
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        shell=True, executable="/bin/bash", **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "code"), [("schema ledger", 0), ("audit nothing", 2), ("--help", 0)]
)
def test_the_exit_code_is_the_command_s_whoever_reads_along(command, code, tmp_path):
    """``harness gate | head`` was green, whatever it found: the code was that of the pipe."""
    words = f"'{sys.executable}' -m harness {command} | true; echo ${{PIPESTATUS[0]}}"
    done = piped(words, tmp_path)
    assert done.stdout == f"{code}\n"
    assert len(done.stderr.splitlines()) == (code == 2)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["/dev/full", "&-"])
@pytest.mark.parametrize("command", ["schema ledger", "promises", "--help"])
def test_an_output_that_takes_nothing_ends_without_a_traceback(command, to, tmp_path):
    done = piped(f"'{sys.executable}' -m harness {command} >{to}; echo code $? >&2", tmp_path)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr.splitlines()[-1] in ("code 0", "code 2")


def test_the_page_of_training_names_every_exit_code():
    text = " ".join(Path("docs/training.md").read_text(encoding="utf-8").split())
    for code in ("0 done", "1 a promise broken", "2 the input was wrong", "70 ", "75 "):
        assert code in text
