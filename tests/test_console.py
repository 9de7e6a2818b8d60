"""What is said on a terminal is broken between words, and a command stays one line."""

import io
import re
import sys

import pytest

from harness.bars import bar
from harness.console import say, say_error
from tests.documented import commands

LONG = "results go to runs/a (epochs.csv, ledger.jsonl, checkpoints); Ctrl-C saves and stops"
COMMAND = f"harness train --config run.yaml --run runs/a --set {'a' * 90}=1 --resume"


class Terminal(io.StringIO):
    """A stream behind which there is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def watched(monkeypatch):
    """Return what calls a function on a terminal, and returns what that was sent."""

    def call(function, columns=40):
        shown = Terminal()
        with monkeypatch.context() as patched:
            patched.setenv("COLUMNS", str(columns))
            patched.setenv("TERM", "xterm")
            for name in ("stdout", "stderr"):
                patched.setattr(sys, name, shown)
            function()
        return shown.getvalue()

    return call


@pytest.mark.parametrize("tell", [say, say_error])
def test_a_long_line_is_broken_between_words_and_its_command_is_not(watched, tell):
    *rows, last = watched(lambda: tell(f"{LONG}, to go on: {COMMAND}")).splitlines()
    assert last == COMMAND
    assert max(map(len, rows)) <= 40
    assert " ".join(" ".join(rows).split()) == f"{LONG}, to go on:"


def test_an_indented_command_stays_and_an_error_is_no_command(watched):
    assert watched(lambda: say(f"    {COMMAND}")) == f"    {COMMAND}\n"
    shown = watched(lambda: say_error(f"harness train: {LONG}"))
    assert max(map(len, shown.splitlines())) <= 40


def test_elsewhere_a_line_is_a_line(capsys):
    say(f"{LONG}, to go on: {COMMAND}")
    assert capsys.readouterr().out == f"{LONG}, to go on: {COMMAND}\n"


def test_a_bar_says_what_it_counts_beside_the_count_and_what_its_times_are(watched):
    def draw():
        with bar(405, "subtrees") as drawn:
            drawn.advance(3)

    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", watched(draw, columns=80))
    assert re.search(r"  3/405 subtrees 0:00:\d\d gone, \S+ left", shown)


def test_no_run_of_the_first_pages_is_begun_twice():
    """Whoever reads them in order has one folder for them all."""
    trained = [
        found[1]
        for page in ("README.md", "docs/gate.md", "docs/training.md")
        for command in commands(page)
        if (found := re.match(r"harness train .*--run (\S+)", command))
        and "--resume" not in command
    ]
    assert len(trained) > 2
    assert sorted(set(trained)) == sorted(trained)
