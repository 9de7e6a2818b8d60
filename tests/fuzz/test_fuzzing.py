"""The driver sees what it looks for: planted tracebacks, crashes, hangs, silent acceptances."""

import os
import time

import pytest

from harness.errors import InputError
from tests.fuzz.fuzzing import Limits, run_cases
from tests.fuzz.mutators import BYTES, CSV, JSON, JSON_LINES, LINES, one_of

WHOLE = b'{"epoch": 1}\n{"epoch": 2}\n'


def ends(read, judge=lambda *_: None, *, apart=False, count=40, **options):
    return run_cases(
        "planted", originals={"a": WHOLE}, mutate=one_of(*BYTES), read=read, judge=judge,
        count=count, limits=Limits(**{"seconds": 0.2} | options), apart=apart,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def found(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMEBITS_FUZZ_FOUND", str(tmp_path))
    return tmp_path / "planted"


def refuse(name, content):
    raise InputError(f"{name}: line 1: no")


@pytest.mark.parametrize("apart", [False, True])
def test_what_is_refused_in_a_line_or_equal_is_counted(apart):
    tally = ends(
        lambda name, content: refuse(name, content) if len(content) % 2 else 1, apart=apart
    )
    assert tally.refused + tally.equal == 40
    assert tally.refused
    assert tally.equal
    tally.require_clean()


@pytest.mark.parametrize(
    ("message", "named"), [("two\nlines", ""), ("\x1b[2J", ""), ("y" * 2000, ""), ("no", "a.json")]
)
def test_a_refusal_that_is_no_line_or_names_nothing_is_found(message, named):
    def read(name, content):
        raise InputError(message)

    tally = run_cases(
        "planted", originals={"a": WHOLE}, mutate=one_of(*BYTES), read=read,
        judge=lambda *_: None, count=1, named=lambda _: named,
    )  # fmt: skip
    assert [one.kind for one in tally.findings] == ["traceback"]


@pytest.mark.parametrize("apart", [False, True])
def test_a_reader_that_waits_is_found_by_the_clock(apart):
    tally = ends(lambda *_: time.sleep(60), apart=apart, count=1, seconds=0.05)
    assert [one.kind for one in tally.findings] == ["hang"]


@pytest.mark.parametrize("apart", [False, True])
def test_other_errors_hangs_and_silence_are_found_and_saved(apart, found):
    def read(name, content):
        if len(content) % 3 == 0:
            raise KeyError("epoch")
        while len(content) % 3 == 1:
            pass
        return content

    tally = ends(read, lambda name, value: "differs", apart=apart, count=20)
    assert {one.kind for one in tally.findings} == {"traceback", "hang", "accepted"}
    assert len(list(found.iterdir())) == len(tally.findings) == 20
    with pytest.raises(AssertionError, match="20 inputs, seed 0"):
        tally.require_clean()


def test_a_child_that_dies_or_takes_memory_is_found_and_the_next_goes_on():
    def read(name, content):
        if len(content) % 3 == 0:
            os._exit(3)
        if len(content) % 3 == 1:
            return bytearray(2**30)
        raise InputError("no")

    tally = ends(read, apart=True, count=12, seconds=5.0, memory_mib=200)
    assert {one.kind for one in tally.findings} == {"crash", "memory"}
    assert tally.refused + len(tally.findings) == 12


@pytest.mark.parametrize("mutators", [BYTES, LINES, JSON, JSON_LINES, CSV])
def test_a_case_is_made_again_by_seed_and_number(mutators):
    seen = []
    for _ in range(2):
        seen.append([])
        run_cases(
            "again", originals={"a": WHOLE, "b": b"a,b\n1,2\n"}, mutate=one_of(*mutators),
            read=lambda name, content: seen[-1].append((name, content)), judge=lambda *_: None,
            count=50,
        )  # fmt: skip
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 5
