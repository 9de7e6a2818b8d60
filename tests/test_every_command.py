"""Every command, killed, asked to end, or out of room: it goes on, or says why not in one line.

``SAMEBITS_HARMS`` is how many harms a command of 32 gets at night, half of them kills.
"""

import math
import os
from collections import Counter
from pathlib import Path

import pytest

from harness.cli import _COMMANDS
from tests.every_command import EVERY, HARMS, Given, harmed, made

SHARE = int(os.environ.get("SAMEBITS_HARMS", "32")) / 32
KILLS = ("killed_at_a_moment", "killed_in_a_call")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return made(tmp_path_factory.mktemp("given"))


def test_no_command_is_left_out() -> None:
    assert EVERY.keys() == {name for name, *_ in _COMMANDS}
    kills = sum(command.harms // 2 for command in EVERY.values())
    assert kills >= 200


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", ["synth", "report", "gate"])
def test_a_command_that_is_cut_short_goes_on(
    name: str, harm: "object", given: Given, tmp_path: Path
) -> None:
    harmed(given, name, tmp_path / name, 1, harm)  # type: ignore[arg-type]


@pytest.mark.nightly
@pytest.mark.parametrize("name", EVERY)
def test_every_command_that_is_cut_short_goes_on(name: str, given: Given, tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    for number in range(math.ceil(SHARE * EVERY[name].harms)):
        harm = HARMS[number % len(HARMS)]
        found = harmed(given, name, tmp_path / f"{name}-{number}", number, harm)
        ends[f"{harm.__name__}: {found}"] += 1
    kills = sum(n for kind, n in ends.items() if kind.startswith(KILLS))
    print(f"{name}: {kills} kills of {sum(ends.values())} harms; {dict(ends)}")  # noqa: T201
