"""Saves and restores at unusual places: a finished run, a name that is taken, no place at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from harness.promises.bench import Bench
from harness.promises.promise import Digests, Violation
from harness.promises.refusals import attempted
from harness.promises.states import CUT, END
from harness.systems.protocol import System, digests_of
from harness.wording import counted

__all__ = ["SavedAgain", "saved_again", "violations_of"]


@dataclass(frozen=True)
class SavedAgain:
    """What a system did where there was nothing to train, and where a save had no room.

    Attributes
    ----------
    steps : int
        Made by a finished run that was restored and told to train as far as it had come.
    first, second, found : mapping
        Digests of two states that were saved under one name, one after the other, and of what was
        restored by it; all empty where the second save was refused.
    unsaved : str
        What was wrong with a save to where nothing can be written; empty of one that was refused.
    """

    steps: int = 0
    first: Digests | None = None
    second: Digests | None = None
    found: Digests | None = None
    unsaved: str = ""


def saved_again(bench: Bench) -> SavedAgain:
    """Train a finished run further than it goes, save twice under one name, and below a file."""
    with bench.at(END) as system:
        unsaved = _unsaved(bench, system)
        path, first = str(bench.folder / "saved-twice"), digests_of(system)
        system.save(path)
        steps: list[int] = []
        # A trainer may say that there is nothing to resume.
        attempted(lambda: steps.append(len(system.train(_EPOCHS, evaluate=False).steps)))
        system.restore(bench.trained.paths[CUT])
        second = digests_of(system)
        error, _ = attempted(partial(system.save, path))
        if error is not None:  # a trainer may refuse a name that is taken
            return SavedAgain(sum(steps), unsaved=unsaved)
        error, _ = attempted(partial(system.restore, path))
        found = None if error is not None else digests_of(system)
        return SavedAgain(sum(steps), first, second, found, unsaved)


_EPOCHS = 2
"""That a gate trains, and that the state at the end of it has."""


def _unsaved(bench: Bench, system: System) -> str:
    """Save below a file, where no folder can be, and say what came of it unless it was refused."""
    file = bench.folder / "a-file"
    file.write_text("no folder", encoding="utf-8")
    path = str(file / "checkpoint")
    if attempted(partial(system.save, path))[0] is not None:
        return ""
    error, message = attempted(partial(system.restore, path))
    return "" if error is None else f"it went on, and nothing is there: {error}: {message}"


def violations_of(evidence: SavedAgain) -> Iterator[Violation]:
    """Yield what is wrong with saves and restores at unusual places."""
    if evidence.steps:
        yield Violation(
            f"a run that is restored after its {_EPOCHS} epochs and told to train as many",
            "no step", counted(evidence.steps, "step"), "trained on",
        )  # fmt: skip
    first, second, found = map(_arrays, (evidence.first, evidence.second, evidence.found))
    if found and found == first and first != second:
        yield Violation(
            "a checkpoint that was saved where another one was, restored",
            "what was saved last", "what was saved there before", "kept",
        )  # fmt: skip
    if evidence.unsaved:
        where = "a save below a file, where no folder can be"
        yield Violation(where, "an error", evidence.unsaved, "unsaved")


def _arrays(state: Digests | None) -> dict[str, str]:
    """Return the digests of all but counters and generators, which may have moved on."""
    return {n: d for n, d in (state or {}).items() if not n.startswith("progress/")}
