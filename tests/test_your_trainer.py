"""docs/your-trainer.md says what the code asks for."""

import dataclasses
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from harness.gate_options import OPTIONS
from harness.promises.registry import PROMISES
from harness.records.records import StepRecord
from harness.systems.protocol import (
    METHODS,
    Check,
    Description,
    Evaluation,
    Recalibration,
    ServedBatch,
    Training,
)

PAGE = (Path(__file__).parents[1] / "docs" / "your-trainer.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"`([^`\n]+)`", PAGE))
FIRST = ("describe", "open", "evaluate", "state")


@pytest.mark.parametrize(
    "record",
    [Description, ServedBatch, Training, Evaluation, Recalibration, StepRecord, Check],
)
def test_every_field_is_explained(record):
    assert {f.name for f in dataclasses.fields(record)} - WORDS == set()


def test_every_call_and_every_option_is_explained():
    calls = {word.partition("(")[0] for word in WORDS if "(" in word}
    assert set(METHODS) <= calls
    named = {word.split()[0] for word in WORDS if word.startswith("--")}
    assert {f"--{option[0]}" for option in OPTIONS} <= named


def rows():
    """Return (calls said to be added, patterns of promises) of the table of step 2."""
    table = PAGE.split("## Step 2")[1].split("## The calls")[0]
    for line in table.splitlines():
        if line.startswith("| `"):
            added, promises = line.strip("| ").split(" | ")
            yield re.findall(r"`([^`]+)`", added), re.findall(r"`([^`]+)`", promises)


def said(promise):
    """Return the calls after which the page says that a promise applies."""
    step1 = PAGE.split("Opened by these:")[1].split("## Step 2")[0]
    if promise in re.findall(r"`([^`]+)`", step1):
        return set(FIRST)
    found = [
        added for added, patterns in rows()
        if any(fnmatch(promise, re.sub(r"<.*>", "*", p)) for p in patterns)
    ]  # fmt: skip
    assert found, f"{promise} is not on the page"
    return {word for added in found for word in added}


@pytest.mark.parametrize("promise", PROMISES)
def test_the_page_says_what_opens_a_promise(promise):
    late = {"train", "save", "restore", "batches", "predict", "score", "recalibrate"}
    needed = set(PROMISES[promise].calls) & late
    words = said(promise)
    assert not needed or needed & words or words - set(METHODS), (needed, words)
