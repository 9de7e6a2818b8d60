"""Bad files, damaged checkpoints and NaN are refused by name."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from harness.promises.arch_codes import is_code, space_of
from harness.promises.bench import Bench
from harness.promises.damaged_checkpoints import bad_checkpoints, mixed_checkpoints
from harness.promises.promise import Promise, needs, require_seen
from harness.promises.refused import (
    FLOW_WITH_NAN,
    Refusals,
    attempted,
    bad_input_is_refused,
    names_word,
    whose_finite_check,
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
from harness.promises.states import a_kernel
from harness.systems.protocol import ServedBatch

__all__ = [
    "BAD_FILES_NAMED", "CHECKPOINT_OF_ONE_SAVE", "CHECKPOINT_VERIFIED", "NAN_SCORE_STOPS",
    "Refusals", "attempted", "bad_files", "bad_input_is_refused", "names_word", "nan_score",
    "whose_finite_check",
]  # fmt: skip


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
        if name == FLOW_WITH_NAN and bench.spec.foreign and _masked(found, sample):
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
    FLOW_WITH_NAN: ("flow_01.flo", _with_nan),
    "image cut short": (
        "img_1.png",
        lambda p, content, _: p.write_bytes(content[: len(content) // 2]),
    ),
    "image one row short": ("img_1.png", _smaller),
    "image one row longer": ("img_1.png", _larger),
}


BAD_FILES_NAMED = Promise(
    id="bad-files-named",
    sentence="a bad file stops the run and is named",
    evidence=bad_files,
    check=bad_input_is_refused,
    hint="A sample that is skipped, replaced or repaired in silence changes the data set.",
)


CHECKPOINT_VERIFIED = Promise(
    id="checkpoint-verified",
    sentence="a damaged or absent checkpoint is refused by name",
    evidence=bad_checkpoints,
    check=bad_input_is_refused,
    hint="A silent fall-back evaluates or continues something else than was asked for.",
)


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
