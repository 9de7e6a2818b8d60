"""Bad files, damaged checkpoints and NaN are refused by name."""

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from harness.errors import NotApplicableError, plain_line
from harness.promises.arch_codes import is_code, space_of
from harness.promises.bench import Bench
from harness.promises.promise import (
    Outcome,
    Promise,
    Violation,
    needs,
    outcome,
    require_seen,
)
from harness.promises.samples import (
    data_section,
    listed_samples,
    require_files,
    split_folder,
    write_image,
)
from harness.promises.scores import base_evaluation
from harness.promises.setting import link_samples
from harness.promises.states import CUT, END, START, a_kernel
from harness.systems.answers import AnswerError
from harness.systems.process import WorkerError
from harness.systems.protocol import Description, ServedBatch, System, digests_of

__all__ = [
    "BAD_FILES_NAMED", "CHECKPOINT_OF_ONE_SAVE", "CHECKPOINT_VERIFIED", "NAN_SCORE_STOPS",
    "Refusals", "attempted", "bad_checkpoints", "bad_files", "bad_input_is_refused",
    "mixed_checkpoints", "names_word", "nan_score", "whose_finite_check",
]  # fmt: skip


@dataclass(frozen=True)
class Refusals:
    """What a system did with input it must refuse.

    ``cases`` hold what was wrong, the words of which the error must name one, the error's
    type (None: it went on), and its message. ``note`` is what else is to be said.
    """

    cases: Sequence[tuple[str, tuple[str, ...], str | None, str]]
    note: str = ""


def whose_finite_check(about: Description, call: str) -> str:
    """Return that the adapter looks for NaN in a call, where it says so; else nothing."""
    if call not in about.finite_by_adapter:
        return ""
    return f"the adapter's own check in {call}() refuses it, the trainer alone would go on"


def attempted(action: Callable[[], Any]) -> tuple[str | None, str]:
    """Return the type of the error that an action raises (None: it raised none) and its text."""
    try:
        action()
    except (AnswerError, NotApplicableError, WorkerError):
        raise  # not the system's refusal
    except Exception as error:  # noqa: BLE001 -- whatever a system raises is the evidence
        return type(error).__name__, str(error)
    return None, "it went on"


def names_word(message: str, word: str) -> bool:
    """Return whether a message has a name in it, and not as part of another word.

    Of a dotted name the last components count too, two at least: a wrapper such as PyTorch's
    DataParallel puts ``module.`` before names that the trainer knows without it. So does a dotted
    name by itself, behind that of the module that has it (``ema/net.weight``).
    """
    if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message):
        return True
    _, whose, own = word.rpartition("/")
    parts = own.split(".")
    if not all(part.isidentifier() or part.isdigit() for part in parts):
        return False
    ends = (".".join(parts[start:]) for start in range(not whose, len(parts) - 1))
    # Not behind another component: `b.conv.weight` is not `a.conv.weight`.
    # The trainer may know it with what a wrapper puts before it.
    head = r"(?<![\w.])(?:module\.)*"
    return any(re.search(rf"{head}{re.escape(end)}(?!\w)", message) for end in ends)


def bad_input_is_refused(evidence: Refusals) -> Outcome:
    """Require each bad input to stop the system, and the message to name it."""
    violations, whole = [], []
    # What was accepted first: it is worse than an error that does not say which file it means.
    for case, words, error, message in sorted(evidence.cases, key=lambda c: c[2] is not None):
        if not all(words) or not words:
            violations.append(Violation(case, "a name to look for in the message", repr(words)))
        elif error is None:
            kind = "label" if case in _LABELS else "accepted"
            violations.append(Violation(case, f"an error that names {words[-1]}", message, kind))
        elif not any(names_word(message, word) for word in words):
            violations.append(
                Violation(f"the message on {case}", f"the name {words[-1]}",
                          f"{error}: {plain_line(message)}", "unnamed")
            )  # fmt: skip
            whole.append(f"{case}: {error}: {message}")
    names = ", ".join(dict.fromkeys(case for case, *_ in evidence.cases))
    notes = (evidence.note,) if evidence.note and not violations else ()
    found = outcome(violations[:6], len(evidence.cases), f"refused by name: {names}", notes)
    return dataclasses.replace(found, detail="\n\n".join(whole))


@needs("batches")
def bad_files(bench: Bench) -> Refusals:
    """Ask for batches of a split of which one file is bad, one defect at a time."""
    with bench.open() as system:
        batches = system.batches("eval")
        served = [pair for b in batches for pair in zip(b.ids, b.windows, strict=True)]
    require_seen(served, "no evaluation batch was served (batches('eval'))")
    sample, window = served[min(1, len(served) - 1)]  # one that is read, and has one before it
    require_files(split_folder(bench, "val"), sample)
    cases, note = [], ""
    for name, (member, spoil) in _DEFECTS.items():
        folder = bench.folder / f"bad-{name.replace(' ', '-')}"
        for split in ("train", "val"):
            whole = split_folder(bench, split)
            link_samples(whole, listed_samples(whole), folder / split)
        path = folder / "val" / f"{sample}-{member}"
        content = path.read_bytes()
        # A link to the user's own file, which writing through it would change.
        path.unlink()
        spoil(path, content, window)
        found: list[ServedBatch] = []
        error = attempted(partial(_serve, bench, folder, found))
        # Flow that is not known may be written as NaN; ours is written as Middlebury's.
        if name in _LABELS and bench.spec.foreign and _masked(found, sample):
            note = "a flow of NaN is masked as unknown"
            continue
        cases.append((name, (path.name,), *error))
    return Refusals(cases, note)


def _serve(bench: Bench, folder: Path, found: list[ServedBatch]) -> None:
    with bench.open(data=data_section(folder)) as system:
        found += system.batches("eval")


def _masked(served: Sequence[ServedBatch], sample: str) -> bool:
    """Return whether the last pixel of a sample's window was served as unknown, by a number."""
    return any(
        not valid[-1, -1] and bool(np.isfinite(flow).all())
        for batch in served
        for own, flow, valid in zip(batch.ids, batch.flow, batch.valid, strict=True)
        if own == sample
    )


def _larger(path: Path, content: bytes, _window: Sequence[int]) -> None:
    image = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))
    write_image(path, np.concatenate([image, image[-1:]]))


def _smaller(path: Path, content: bytes, _window: Sequence[int]) -> None:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    write_image(path, np.asarray(image)[:-1])


def _with_nan(path: Path, content: bytes, window: Sequence[int]) -> None:
    """Write NaN into the last pixel of the file, and of the window that is served."""
    width, height = np.frombuffer(content, "<i4", 2, 4).tolist()
    flow = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2).copy()
    top, left, rows, columns = window
    flow[top + rows - 1, left + columns - 1, 1] = flow[-1, -1, 1] = np.nan
    path.write_bytes(content[:12] + flow.tobytes())


# OpenCV accepts trailing bytes and NaN in a flow, and returns None, with no
# error, for a flow that is cut short.
_DEFECTS: dict[str, tuple[str, Callable[[Path, bytes, Sequence[int]], Any]]] = {
    "flow cut short": ("flow_01.flo", lambda p, content, _: p.write_bytes(content[:-40])),
    "flow too long": ("flow_01.flo", lambda p, content, _: p.write_bytes(content + b"12345678")),
    "flow with NaN": ("flow_01.flo", _with_nan),
    "image cut short": (
        "img_1.png",
        lambda p, content, _: p.write_bytes(content[: len(content) // 2]),
    ),
    "image one row short": ("img_1.png", _smaller),
    "image one row longer": ("img_1.png", _larger),
}
_LABELS = ("flow with NaN",)
"""Defects of a flow's values: who accepts these does not look at them."""


BAD_FILES_NAMED = Promise(
    id="bad-files-named",
    sentence="a bad file stops the run and is named",
    evidence=bad_files,
    check=bad_input_is_refused,
    hint="A sample that is skipped, replaced or repaired in silence changes the data set.",
)


@needs("save", "restore", "train", "state")
def bad_checkpoints(bench: Bench) -> Refusals:
    """Restore one with a flipped byte, or another digit, one cut short, and one that is absent."""
    cases: list[tuple[str, tuple[str, ...], str | None, str]] = []
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


def _changed_digits(
    bench: Bench, system: System
) -> Iterator[tuple[str, tuple[str, ...], str | None, str]]:
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


CHECKPOINT_VERIFIED = Promise(
    id="checkpoint-verified",
    sentence="a damaged or absent checkpoint is refused by name",
    evidence=bad_checkpoints,
    check=bad_input_is_refused,
    hint="A silent fall-back evaluates or continues something else than was asked for.",
)


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


CHECKPOINT_OF_ONE_SAVE = Promise(
    id="checkpoint-of-one-save",
    sentence="a checkpoint whose files come from two saves is refused by name",
    evidence=mixed_checkpoints,
    check=bad_input_is_refused,
    hint=(
        "A crash between two writes, or a copy while a run saves, leaves weights of one epoch "
        "beside the counters of another. Let one file hold the digests of all."
    ),
    # A restore that does not look at what it restores.
    explained_by=("checkpoint-verified",),
)


@needs("state", "evaluate")
def nan_score(bench: Bench) -> Refusals:
    """Evaluate with a NaN in a weight that every arch runs."""
    space = space_of(bench.describe())
    # A number that is no code is in many a message that names nothing.
    archs = [a for a in base_evaluation(bench).archs if not a.isdigit() or is_code(a, space)]
    with bench.scored() as system:
        state, before = system.state(), system.evaluate().per_sample
        heads = [name for names in system.describe().heads.values() for name in names]
        for name in (a_kernel(state), *heads):
            poisoned = np.array(state[name])
            poisoned.flat[0] = np.nan
            system.state({name: poisoned})
            scores: list[Any] = []
            found = attempted(partial(_score, system, scores))
            system.state({name: state[name]})
            # What is scored is an average of the weights that are trained, and has the heads.
            if scores != [before]:
                break
    note = whose_finite_check(bench.describe(), "evaluate")
    return Refusals([(f"a NaN in {name}", (*archs, name), *found)], note)


def _score(system: Any, scores: list[Any]) -> None:
    scores.append(system.evaluate().per_sample)


NAN_SCORE_STOPS = Promise(
    id="nan-score-stops",
    sentence="a NaN in a weight stops the evaluation and is named",
    evidence=nan_score,
    check=bad_input_is_refused,
    hint="A NaN score compares as neither better nor worse, so the best checkpoint freezes.",
    # In a run, a NaN reaches the evaluation where training has let it pass.
    explained_by=("nan-stops",),
)
