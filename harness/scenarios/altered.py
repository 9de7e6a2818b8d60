"""Scenarios that alter what is around a system: paths, seeds, files, checkpoints, archs."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from harness.digest import state_digests
from harness.evidence.altering import ArchResponse, Elsewhere, Frozen, Pools, Refusals, Seeds
from harness.evidence.bundles import Recomputation, Served
from harness.evidence.observations import ServedBatch
from harness.fc2.batch import Batch, content_digest
from harness.fc2.crop import Window
from harness.fc2.frozen import FrozenBatches, write_frozen
from harness.relations.base import NotApplicableError
from harness.scenarios.book import Book, a_kernel
from harness.scenarios.files import listed_samples
from harness.scenarios.measuring import recomputed_rows, served_in, split_folder
from harness.scenarios.setting import link_samples
from harness.scenarios.steps import odd_samples
from harness.systems.answers import AnswerError
from harness.systems.process import WorkerError
from harness.systems.protocol import digests_of

__all__ = [
    "arch_response",
    "bad_checkpoints",
    "bad_files",
    "elsewhere",
    "frozen",
    "nan_score",
    "odd_recomputation",
    "odd_served",
    "pools",
    "seeds",
]


def elsewhere(book: Book) -> Elsewhere:
    """Train again on a copy of the data elsewhere, under another run name."""
    trained, copy = book.trained, book.folder / "else where" / "déjà"
    for split in ("train", "val"):
        source = split_folder(book, split)
        link_samples(source, reversed(listed_samples(source)), copy / split)
    system = book.open(
        data={"base_path": str(copy), "train_dir": "train", "val_dir": "val"},
        runtime={"experiment_name": "another", "output_root": str(book.folder / "out")},
    )
    run = system.train(2)
    weights = {n: d for n, d in digests_of(system).items() if "progress/" not in n}
    scores = system.evaluate()
    system.close()
    here = {n: d for n, d in trained.end_state.items() if "progress/" not in n}
    steps = (*trained.first.steps, *trained.second.steps)
    return Elsewhere(
        here, weights, book["base_evaluation"], scores, [s.batch for s in steps],
        [s.batch for s in run.steps],
    )  # fmt: skip


def seeds(book: Book) -> Seeds:
    """Open one seed twice and another seed once."""
    seed, states = book.config["runtime"]["seed"], []
    for value in (seed, seed, seed + 1):
        system = book.open(runtime={"seed": value})
        states.append(system.state())
        if value == seed:
            system.close()
    run = system.train(1, evaluate=False)
    system.close()
    kernels = [name for name, array in states[0].items() if np.asarray(array).ndim == 4]
    moments = [name for name in kernels if not np.asarray(states[0][name]).any()]
    one, again, other = (state_digests(state) for state in states)
    return Seeds(
        one, again, other, [name for name in kernels if name not in moments],
        [s.archs for s in book.trained.first.steps], [s.archs for s in run.steps],
    )  # fmt: skip


def pools(book: Book) -> Pools:
    """Evaluate a default pool of nine archs, twice, and with another seed."""
    seed, found = book.config["runtime"]["seed"], []
    few = {"eval_pool_size": 9, "eval_batches_per_arch": 1, "bn_recal_batches": 1, "batch_size": 2}
    for value in (seed, seed, seed + 1):
        system = book.open_cheaply(few, runtime={"seed": value})
        found.append(system.evaluate().archs)
        system.close()
    if found[0] and not any(arch.isdigit() for arch in found[0]):
        msg = f"the system's archs are no codes of options, but {', '.join(found[0])}"
        raise NotApplicableError(msg)
    return Pools(*found)


def odd_served(book: Book) -> Served:
    """Serve evaluation batches of samples with unknown flow and with very large flow."""
    folder = _odd(book)
    system = book.open(data=_data(folder))
    batches, again = system.batches("eval"), system.batches("eval")
    system.close()
    return served_in(book, folder / "val", batches, again)


def odd_recomputation(book: Book) -> Recomputation:
    """Score samples with unknown flow, beside the outputs they were scored on."""
    system = book.open(data=_data(_odd(book)))
    scores = system.evaluate()
    found = recomputed_rows(system, scores)
    system.close()
    return found


def _odd(book: Book) -> Path:
    folder = book.folder / "odd"
    return folder if folder.exists() else odd_samples(book, "odd")


def _data(folder: Path) -> dict[str, str]:
    return {"base_path": str(folder), "train_dir": "train", "val_dir": "val"}


def bad_files(book: Book) -> Refusals:
    """Ask for batches of a split of which one file is bad, one defect at a time."""
    system = book.open()
    served = [sample for batch in system.batches("eval") for sample in batch.ids]
    system.close()
    sample = served[min(1, len(served) - 1)]  # one that is read, and has one before it
    cases = []
    for name, (member, spoil) in _DEFECTS.items():
        folder = book.folder / f"bad-{name.replace(' ', '-')}"
        for split in ("train", "val"):
            whole = split_folder(book, split)
            link_samples(whole, listed_samples(whole), folder / split)
        path = folder / "val" / f"{sample}-{member}"
        content = path.read_bytes()
        path.unlink()
        spoil(path, content)
        cases.append((name, (path.name,), *_attempt(partial(_serve, book, folder))))
    return Refusals(cases)


def _serve(book: Book, folder: Path) -> None:
    system = book.open(data=_data(folder))
    try:
        system.batches("eval")
    finally:
        system.close()


def _attempt(action: Callable[[], Any]) -> tuple[str | None, str]:
    """Return the type of the error that an action raises (None: it raised none) and its text."""
    try:
        action()
    except (AnswerError, NotApplicableError, WorkerError):
        raise  # not the system's refusal
    except Exception as error:  # noqa: BLE001 -- whatever a system raises is the evidence
        return type(error).__name__, str(error)
    return None, "it went on"


def _smaller(path: Path, content: bytes) -> None:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), np.asarray(image)[:-1])


def _with_nan(path: Path, content: bytes) -> None:
    path.write_bytes(content[:-4] + np.float32("nan").tobytes())


_DEFECTS: dict[str, tuple[str, Callable[[Path, bytes], Any]]] = {
    "flow cut short": ("flow_01.flo", lambda p, content: p.write_bytes(content[:-40])),
    "flow too long": ("flow_01.flo", lambda p, content: p.write_bytes(content + b"12345678")),
    "flow with NaN": ("flow_01.flo", _with_nan),
    "image cut short": (
        "img_1.png",
        lambda p, content: p.write_bytes(content[: len(content) // 2]),
    ),
    "image one row short": ("img_1.png", _smaller),
}


def frozen(book: Book) -> Frozen:
    """Evaluate from files, from a frozen artifact, and from an altered one at its path."""
    trained = book.trained
    if "frozen" not in trained.system.describe().supports:
        msg = "the system does not evaluate from frozen artifacts"
        raise NotApplicableError(msg)
    served = [trained.system.batches(role, epoch=2) for role in ("eval", "recal")]
    groups = [[_batch(batch) for batch in batches] for batches in served]
    path, found = book.folder / "frozen.npz", []
    for altered in (False, True):
        eval_batches = [_otherwise(groups[0][0]), *groups[0][1:]] if altered else groups[0]
        path.unlink(missing_ok=True)
        write_frozen(path, FrozenBatches(tuple(eval_batches), tuple(groups[1])))
        system = book.open(eval={"frozen": str(path)})
        system.restore(trained.end)
        found.append(system.evaluate())
        system.close()
    return Frozen(book["base_evaluation"], *found)


def _batch(served: ServedBatch) -> Batch:
    return Batch(
        served.ids, tuple(Window(*w) for w in served.windows), served.frames, served.flow,
        served.valid, served.flow_clip, served.digest,
    )  # fmt: skip


def _otherwise(batch: Batch) -> Batch:
    """Return the batch with another first sample: inverted frames, and a flow 1 px longer.

    The flow too, because a net of a few channels may be blind to a change of its frames.
    """
    frames, flow = np.array(batch.frames), np.array(batch.flow)
    frames[0] ^= 255
    flow[0] += 1
    digest = content_digest(batch.ids, batch.windows, frames, flow, batch.valid)
    return Batch(batch.ids, batch.windows, frames, flow, batch.valid, batch.flow_clip, digest)


def bad_checkpoints(book: Book) -> Refusals:
    """Restore a checkpoint with one flipped byte, one cut short, and one that is absent."""
    trained, system = book.trained, book.trained.system
    cases = []
    for name in ("one byte flipped", "cut short"):
        folder = book.folder / name.replace(" ", "-")
        shutil.copytree(trained.end, folder)
        largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 0x10
        cut = len(content) // 3 if name == "cut short" else len(content)
        largest.write_bytes(bytes(content[:cut]))
        found = _attempt(partial(system.restore, str(folder)))
        cases.append((f"a checkpoint, {name}", (folder.name,), *found))
    absent = str(book.folder / "no-such-checkpoint")
    cases.append(("no checkpoint", (absent,), *_attempt(partial(system.restore, absent))))
    system.restore(trained.end)
    return Refusals(cases)


def nan_score(book: Book) -> Refusals:
    """Evaluate with a NaN in a weight that every arch runs."""
    system = book.measured
    state = system.state()
    name = a_kernel(state)
    kept = np.array(state[name])
    poisoned = kept.copy()
    poisoned.flat[0] = np.nan
    system.state({name: poisoned})
    found = _attempt(system.evaluate)
    system.state({name: kept})
    return Refusals([(f"a NaN in {name}", (*book["base_evaluation"].archs, name), *found)])


def arch_response(book: Book) -> ArchResponse:
    """Change the kernels of one option of one block at a time, and score a fair cycle."""
    options = book.trained.system.describe().options
    if not options:
        msg = "the system does not say which kernels an option runs"
        raise NotApplicableError(msg)
    system = book.open_cheaply({"bn_recal_batches": 1, "eval_batches_per_arch": 1, "batch_size": 2})
    system.restore(book.trained.end)
    blocks = range(len(options))
    archs = ["".join(str((block + shift) % 3) for block in blocks) for shift in range(3)]
    state, base, changed = system.state(), system.evaluate(archs), {}
    for block, kernels in enumerate(options):
        for option, names in enumerate(kernels):
            own = tuple(n for n in names if not any(n in k for k in kernels[:option])) or names
            kept = {name: np.array(state[name]) for name in own}
            system.state({name: array * 1.5 for name, array in kept.items()})
            changed[block, option] = own, system.evaluate(archs)
            system.state(kept)
    system.close()
    return ArchResponse(base, changed, options)
