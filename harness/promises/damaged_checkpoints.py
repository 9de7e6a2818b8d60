"""Checkpoints that are damaged, absent or of two saves, and what restoring each of them does."""

import re
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.promise import needs, require_seen
from harness.promises.refused import Case, Refusals, attempted
from harness.promises.states import CUT, END, START
from harness.systems.protocol import System, digests_of

__all__ = ["bad_checkpoints", "mixed_checkpoints"]


@needs("save", "restore", "train", "state")
def bad_checkpoints(bench: Bench) -> Refusals:
    """Restore one with a flipped byte, or another digit, one cut short, and one that is absent."""
    cases: list[Case] = []
    end = bench.trained.paths[END]
    with bench.at(END) as system:
        for name in ("one byte flipped", "cut short"):
            folder = bench.folder / name.replace(" ", "-")
            shutil.copytree(end, folder)
            _damage(folder, cut_short=name == "cut short")
            found = attempted(partial(system.restore, str(folder)))
            cases.append((f"a checkpoint, {name}", (folder.name,), *found))
        # Of a foreign text nobody knows which of its numbers are vouched for.
        cases += [] if bench.spec.foreign else _changed_digits(bench, system)
        absent = str(bench.folder / "no-such-checkpoint")
        names = (absent, Path(absent).name)
        cases.append(("no checkpoint", names, *attempted(partial(system.restore, absent))))
    return Refusals(cases)


def _changed_digits(bench: Bench, system: System) -> Iterator[Case]:
    """Yield what becomes of a checkpoint of which a number in a text has another last digit.

    One that goes on in the very state that was saved has lost nothing: the number is no part of
    it, such as the time of the save.
    """
    end, sound = Path(bench.trained.paths[END]), digests_of(system)
    for file in sorted(path for path in end.rglob("*.json") if path.is_file()):
        text = file.read_text(encoding="utf-8")
        numbers = list(_NUMBER.finditer(text))
        for number, at in enumerate(sorted({n.end() - 1 for n in numbers[:: _every(numbers)]})):
            folder = bench.folder / f"{file.stem}-digit-{number}"
            shutil.copytree(end, folder)
            other = f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}"
            (folder / file.relative_to(end)).write_text(other, encoding="utf-8")
            found = attempted(partial(system.restore, str(folder)))
            if found[0] is not None or digests_of(system) != sound:
                yield f"a checkpoint, another digit in {file.name}", (folder.name,), *found


_NUMBER = re.compile(r"(?<=[:\s,\[])\d+(?:\.\d+)?(?=[\s,\]}])")
"""A number of a JSON text, outside of strings but for those that hold one between blanks."""

_DIGITS = 12
"""So many of its numbers are changed, one at a time."""


def _every(numbers: Sequence[object]) -> int:
    return -(-len(numbers) // _DIGITS) or 1


def _damage(folder: Path, *, cut_short: bool) -> None:
    """Cut the largest file of a checkpoint short, or flip a bit in its middle."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    require_seen(files, "the checkpoint has no file that could be damaged")
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0x10
    largest.write_bytes(bytes(content[: len(content) // 3] if cut_short else content))


@needs("save", "restore", "train", "state")
def mixed_checkpoints(bench: Bench) -> Refusals:
    """Restore checkpoints of which one file is that of an earlier save of the same run."""
    trained, cases = bench.trained, []
    cut, end = (Path(trained.paths[state]) for state in (CUT, END))
    names = _files_of_both(cut, end)
    if not names or len([path for path in end.rglob("*") if path.is_file()]) < 2:
        msg = "a checkpoint is one file: it cannot be of two saves"
        raise NotApplicableError(msg)
    with bench.at(CUT) as system:
        # What restoring brings back, which need not be all that was saved.
        whole = [digests_of(system)]
        system.restore(str(end))
        whole.append(digests_of(system))
        went_on = True
        for number, name in enumerate(names):
            folder = bench.folder / f"of-two-saves-{number}"
            shutil.copytree(end, folder)
            shutil.copyfile(cut / name, folder / name)
            if went_on:  # else what is left in place, in silence, would look like a whole one
                system.restore(trained.paths[START])
            error, message = attempted(partial(system.restore, str(folder)))
            went_on = error is None
            # A file that restoring does not read mixes nothing, and one that holds everything is
            # a whole checkpoint.
            if went_on and digests_of(system) in whole:
                continue
            case = f"a checkpoint after epoch 2 with {name} as it was saved after epoch 1"
            cases.append((case, (folder.name,), error, message))
    if not cases:
        msg = "each file of a checkpoint holds the whole state or none of it"
        raise NotApplicableError(msg)
    return Refusals(cases)


_MOST_FILES = 6
"""Files of a checkpoint that are exchanged, one at a time."""


def _files_of_both(cut: Path, end: Path) -> list[str]:
    """Return the names of files that two checkpoints have with different content.

    Of many the largest and the smallest: arrays, and what is counted or listed beside them.
    """
    files = [path for path in end.rglob("*") if path.is_file()]
    found = [
        (path.stat().st_size, name)
        for path, name in ((path, path.relative_to(end).as_posix()) for path in files)
        if (cut / name).is_file() and (cut / name).read_bytes() != path.read_bytes()
    ]
    names = [name for _, name in sorted(found)]
    half = _MOST_FILES // 2
    return names if len(names) <= _MOST_FILES else [*names[:half], *names[-half:]]
