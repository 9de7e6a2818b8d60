"""Hashes of the recalibration batches: where they are taken, and of changed pixels."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from harness.promises.bench import Bench
from harness.promises.promise import needs, require_seen
from harness.promises.samples import require_files, split_folder, write_image
from harness.promises.scores import base_evaluation
from harness.promises.second_process import evaluation_of_end
from harness.promises.setting import link_samples
from harness.promises.states import END

__all__ = ["RecalHashes", "recal_hashes"]


@dataclass(frozen=True)
class RecalHashes:
    """Recalibration batch hashes by where they were taken, and with one pixel changed."""

    fixed: bool
    hashes: Mapping[str, str]
    one_pixel_changed: str


@needs("evaluate", "train", "batches", "recalibrate")
def recal_hashes(bench: Bench) -> RecalHashes:
    """Collect the recalibration hashes of epochs, processes and archs, and of changed data."""
    trained = bench.trained
    # A row without one is of an evaluation that did not recalibrate, or of a log that has none.
    hashes = {
        f"epoch {row.epoch}": row.bn_recal_batch_hash
        for row in trained.first.epochs + trained.second.epochs
        if row.bn_recal_batch_hash
    }
    base = base_evaluation(bench)
    hashes["standalone"] = base.bn_recal_batch_hash
    hashes["fresh process"] = bench.evidence(evaluation_of_end).result().bn_recal_batch_hash
    if bench.spec.foreign:  # somebody else's log and evaluations may say nothing of it
        hashes = {where: found for where, found in hashes.items() if found not in ("", "None")}
    with bench.at(END) as system:
        for arch in base.archs[:2]:
            hashes[f"arch {arch}"] = system.recalibrate(arch).batch_hash
    mode = bench.config.get("eval", {}).get("recal_mode", "fixed")
    return RecalHashes(mode == "fixed", hashes, _hash_with_one_pixel_changed(bench))


def _hash_with_one_pixel_changed(bench: Bench) -> str:
    """Return the hash that a system computes when one pixel of a recal frame differs."""
    copy = bench.folder / "one-pixel"
    with bench.at(END) as system:
        batches = system.batches("recal")
        chosen = {"train": batches, "val": system.batches("eval")[:1]}
    require_seen(batches, "no recalibration batch was served (batches('recal'))")
    first = batches[0]
    require_files(split_folder(bench, "train"), first.ids[0])
    for split, served_batches in chosen.items():
        ids = [sample for batch in served_batches for sample in batch.ids]
        link_samples(split_folder(bench, split), dict.fromkeys(ids), copy / split)
    target = copy / "train" / f"{first.ids[0]}-img_1.png"
    content = np.frombuffer(target.read_bytes(), np.uint8)
    image = np.array(cv2.imdecode(content, cv2.IMREAD_UNCHANGED))
    top, left, height, width = first.windows[0]
    image[top + height // 2, left + width // 2, 1] ^= 1
    # A link to the user's own file, which writing through it would change.
    target.unlink()
    write_image(target, image)
    arch = base_evaluation(bench).archs[0]
    data = {"base_path": str(copy), "train_dir": "train", "val_dir": "val"}
    with bench.open(data=data) as altered:
        return altered.recalibrate(arch).batch_hash
