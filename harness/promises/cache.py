"""What is kept is what the files hold: a decode cache, a frozen artifact."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from harness.digest import digest_arrays
from harness.errors import NotApplicableError
from harness.fc2.batch import Batch, content_digest
from harness.fc2.crop import Window
from harness.fc2.frozen import FrozenBatches, write_frozen
from harness.promises.added_sample import add_sample
from harness.promises.bench import Bench, Tree
from harness.promises.promise import (
    Outcome,
    Promise,
    Violation,
    needs,
    outcome,
    require_seen,
)
from harness.promises.refusals import attempted
from harness.promises.same_scores import pool_differences
from harness.promises.samples import listed_samples, require_files, split_folder
from harness.promises.scores import base_evaluation
from harness.promises.setting import crop_stride, link_samples
from harness.promises.states import END
from harness.systems.protocol import Evaluation, ServedBatch
from harness.wording import counted, shortened

__all__ = [
    "CACHE_NEVER_STALE", "FROZEN_SAME", "Cached", "Frozen", "cache_is_never_stale", "cached",
    "frozen", "frozen_scores_are_the_files",
]  # fmt: skip


@dataclass(frozen=True)
class Cached:
    """Content digests of evaluation batches, served around a change of one file.

    Attributes
    ----------
    first, again : sequence of str
        Served with a cache folder, which the first fills.
    changed, fresh : sequence of str
        Served with that folder and without one, after a file has changed and kept its name,
        size and time.
    others : mapping of str to (sequence of str, sequence of str)
        By what else was asked of that folder, another crop or another clip: what was served, and
        what is served without a folder if any of it was as before.
    added : str
        A sample that was added behind all others before the last two were served; empty where it
        need not be among so many batches.
    listed : sequence of sequence of str
        The samples of ``changed`` and of ``fresh``.
    """

    first: Sequence[str]
    again: Sequence[str]
    changed: Sequence[str]
    fresh: Sequence[str]
    others: Mapping[str, tuple[Sequence[str], Sequence[str]]] = field(default_factory=dict)
    added: str = ""
    listed: Sequence[Sequence[str]] = ()


_HEADER = 12
"""Bytes of a .flo file before its first vector."""


@needs("batches")
def cached(bench: Bench) -> Cached:
    """Serve evaluation batches twice with a cache, and with and without after one change."""
    folder = bench.folder / "cached"
    for split in ("train", "val"):
        source = split_folder(bench, split)
        link_samples(source, listed_samples(source), folder / split)
    cache = str(bench.folder / "cache")
    batches = _serve(bench, folder, cache)
    again = _serve(bench, folder, cache)
    require_seen(batches and batches[0].ids, "no evaluation batch was served (batches('eval'))")
    require_files(split_folder(bench, "val"), batches[0].ids[0])
    others = _under_others(bench, folder, cache, batches)
    _add_one_px(folder / "val", batches[0])
    added = add_sample(bench, folder / "val", [s for batch in batches for s in batch.ids])
    changed, fresh = _serve(bench, folder, cache), _serve(bench, folder, "")
    listed = [[sample for batch in found for sample in batch.ids] for found in (changed, fresh)]
    return Cached(
        _contents(batches), _contents(again), _contents(changed), _contents(fresh), others,
        added, listed,
    )  # fmt: skip


def _under_others(
    bench: Bench, folder: Path, cache: str, batches: Sequence[ServedBatch]
) -> dict[str, tuple[Sequence[str], Sequence[str]]]:
    """Serve from a filled cache under another crop, and under another clip."""
    before = _contents(batches)
    found: dict[str, tuple[Sequence[str], Sequence[str]]] = {}
    for what, sections in _others(bench, batches).items():
        served = right = _served_or_error(bench, folder, cache, sections)
        # Opening a system is dear: where nothing is as before, nothing can be stale.
        if len(served) == 1 or set(served) & set(before):
            right = _served_or_error(bench, folder, "", sections)
        # A net of one size alone does not open under another crop.
        if right[:1] != (_REFUSED,):
            found[what] = (served, right)
    return found


_REFUSED = "an error"


def _served_or_error(
    bench: Bench, folder: Path, cache: str, sections: Mapping[str, Tree]
) -> tuple[str, ...]:
    """Return the contents that are served, or that there was an error."""
    served = list[ServedBatch]()
    try:
        error, _ = attempted(lambda: served.extend(_serve(bench, folder, cache, **sections)))
    except NotApplicableError:
        return (_REFUSED,)
    return _contents(served) if error is None else (_REFUSED,)


def _others(bench: Bench, batches: Sequence[ServedBatch]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the sections of a smaller crop and of a clip that some label exceeds."""
    height, width = batches[0].frames.shape[1:3]
    step, found = crop_stride(bench.config, bench.describe()), {}
    area = (height, width - step) if width > step else (height - step, width)
    data = {"input_height": area[0], "input_width": area[1]}
    if bench.config["eval"].get("crop"):
        crop = {"eval": bench.settable("eval", {"crop": list(area)})}
    else:
        crop = {"data": bench.settable("data", data)}
    if min(area) > 0 and all(crop.values()):
        found["another crop"] = crop
    longest = max(float(np.abs(batch.flow).max(initial=0)) for batch in batches)
    clip = bench.settable("eval", {"flow_clip": longest / 2})
    if longest and clip:
        found["another clip"] = {"eval": clip}
    return found


def _serve(bench: Bench, folder: Path, cache: str, **sections: Tree) -> Sequence[ServedBatch]:
    data = {"base_path": str(folder), "train_dir": "train", "val_dir": "val"}
    kept = {"runtime": {"cache_dir": cache, "cache_mib": 0}}
    changed = {**kept, **sections, "data": {**data, **sections.get("data", {})}}
    with bench.open(**changed) as system:
        return system.batches("eval")


def _contents(batches: Sequence[ServedBatch]) -> tuple[str, ...]:
    return tuple(
        digest_arrays({"frames": b.frames, "flow": b.flow, "valid": b.valid}) for b in batches
    )


def _add_one_px(folder: Path, batch: ServedBatch) -> None:
    """Add 1 px to a vector in the middle of the first sample's window; size and time stay."""
    path = folder / f"{batch.ids[0]}-flow_01.flo"
    # The sample is a link to the user's own file: a copy takes its place before it is changed.
    shutil.copy2(path.resolve(), path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
    kept, content = path.stat(), bytearray(path.read_bytes())
    top, left, height, width = batch.windows[0]
    across = int(np.frombuffer(content, "<i4", count=1, offset=4)[0])
    place = _HEADER + 8 * ((top + height // 2) * across + left + width // 2)
    vector = np.frombuffer(content, "<f4", count=2, offset=place) + np.float32(1)
    content[place : place + 8] = vector.tobytes()
    path.write_bytes(content)
    # A cache that trusts size and time is fooled only if both stay, to the nanosecond.
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def cache_is_never_stale(evidence: Cached) -> Outcome:
    """Require a cache to serve what a decode serves, before and after a file has changed."""
    violations = []
    for what, wanted, served in (
        ("served again from the cache", evidence.first, evidence.again),
        ("served from the cache after a change", evidence.fresh, evidence.changed),
        *(
            (f"served from the cache under {what}", right, found)
            for what, (found, right) in evidence.others.items()
        ),
    ):
        violations += [
            Violation(f"eval batch {index} {what}", shortened(want),
                      f"{shortened(found)}{_content(evidence, what, index, found)}")
            for index, (want, found) in enumerate(zip_longest(wanted, served, fillvalue="no batch"))
            if want != found
        ]  # fmt: skip
    # Had the change not reached the window, a stale cache would look right.
    if evidence.first and evidence.fresh[:1] == evidence.first[:1]:
        violations.append(Violation("eval batches of changed files", "another content", "the same"))
    for what, samples in zip(("", " without a cache folder"), evidence.listed, strict=False):
        if evidence.added and evidence.added not in samples:
            where = f"samples served once {evidence.added} was added to the split{what}"
            found = "those that were there before: the list of samples is kept"
            violations.append(Violation(where, "it among them", found))
    seen = min(map(len, (evidence.first, evidence.again, evidence.changed, evidence.fresh)))
    figures = f"{counted(seen, 'batch')}, one of them changed under the same name, size and time"
    figures += "".join(f"; {what}" for what in evidence.others)
    return outcome(violations[:6], seen, figures)


def _content(evidence: Cached, what: str, index: int, found: str) -> str:
    """Return which content a batch has that is not its own, in words."""
    if any(what.endswith(other) for other in evidence.others):
        stale = found in evidence.first
        return ": what was kept under the configured one" if stale else ""
    if evidence.fresh[index : index + 1] != evidence.first[index : index + 1] == (found,):
        return ": what the files held before the change"
    others = {digest: i for i, digest in enumerate(evidence.first)}
    return f": the content of batch {others[found]}" if found in others else ""


CACHE_NEVER_STALE = Promise(
    id="cache-never-stale",
    sentence="a cache serves a file that has changed as it is now, under the crop and clip asked",
    evidence=cached,
    check=cache_is_never_stale,
    hint=(
        "Cached batches are found by name, size or time. Their key must follow from the files' "
        "content, and from everything else that shapes a batch; a list of samples that is kept "
        "must follow what lies in the folder."
    ),
    explained_by=("eval-order-fixed:other each time", "same-scores-again:other each time"),
)


@dataclass(frozen=True)
class Frozen:
    """Scores from files, from a frozen artifact of them, and from an altered artifact.

    The altered one lies at the same path and has one other pixel.
    """

    files: Evaluation
    frozen: Evaluation
    altered: Evaluation


@needs("batches", "evaluate", "save", "restore", "train", says=("supports: frozen",))
def frozen(bench: Bench) -> Frozen:
    """Evaluate from files, from a frozen artifact, and from an altered one at its path."""
    trained = bench.trained
    if "frozen" not in trained.description.supports:
        msg = "the system does not evaluate from frozen artifacts"
        raise NotApplicableError(msg)
    files = base_evaluation(bench)
    with bench.at(END) as system:
        # Random recalibration draws a set for each epoch: these
        # are the set of the evaluation above.
        served = [system.batches("eval", epoch=2), system.batches("recal", epoch=2)]
    require_seen(served[0], "no evaluation batch was served (batches('eval'))")
    groups = [[_batch(batch) for batch in batches] for batches in served]
    path, found = bench.folder / "frozen.npz", []
    for altered in (False, True):
        eval_batches = [_altered_batch(groups[0][0]), *groups[0][1:]] if altered else groups[0]
        path.unlink(missing_ok=True)
        write_frozen(path, FrozenBatches(tuple(eval_batches), tuple(groups[1])))
        with bench.open(eval={"frozen": str(path)}) as system:
            system.restore(trained.paths[END])
            found.append(system.evaluate())
    return Frozen(files, *found)


def _batch(served: ServedBatch) -> Batch:
    return Batch(
        served.ids, tuple(Window(*w) for w in served.windows), served.frames, served.flow,
        served.valid, served.flow_clip, served.digest,
    )  # fmt: skip


def _altered_batch(batch: Batch) -> Batch:
    """Return the batch with another first sample: inverted frames, and a flow 1 px longer.

    The flow too, because a net of a few channels may be blind to a change of its frames.
    """
    frames, flow = np.array(batch.frames), np.array(batch.flow)
    frames[0] ^= 255
    flow[0] += 1
    digest = content_digest(batch.ids, batch.windows, frames, flow, batch.valid)
    return Batch(batch.ids, batch.windows, frames, flow, batch.valid, batch.flow_clip, digest)


def frozen_scores_are_the_files(evidence: Frozen) -> Outcome:
    """Require a frozen artifact to score as its files do, and another one at its path not."""
    violations = pool_differences(evidence.files, evidence.frozen, "from the frozen artifact")
    if evidence.altered.eval_batch_hash == evidence.frozen.eval_batch_hash:
        violations.append(
            Violation("batch hash of another artifact at the same path", "another hash",
                      evidence.altered.eval_batch_hash)
        )  # fmt: skip
    for arch, scores in evidence.frozen.per_sample.items():
        if evidence.altered.per_sample.get(arch, scores) == scores:
            violations.append(
                Violation(f"scores of arch {arch} from another artifact at the same path",
                          "others", "the same: a stale artifact was scored")
            )  # fmt: skip
    seen = len(evidence.frozen.archs)
    return outcome(
        violations[:6], seen, f"{counted(seen, 'arch')} equal from files and from the artifact"
    )


FROZEN_SAME = Promise(
    id="frozen-same",
    sentence="frozen batches score as their files, and another artifact does not",
    evidence=frozen,
    check=frozen_scores_are_the_files,
    hint="The artifact is not what is scored: it is stale, cached or only part of it is used.",
    blocked_by=("same-scores-again",),
    explained_by=("recal-batches-fixed",),
)
