"""A small subset of a FlyingChairs2 folder: deterministic choice, manifest with hashes."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from harness.errors import InputError
from harness.fc2.layout import Triplet, list_triplets
from harness.streams import permutation

__all__ = ["choose", "write_subset"]


def choose(
    samples: Sequence[Triplet], count: int, *, seed: int, split: Literal["train", "val"]
) -> list[Triplet]:
    """Return `count` samples, chosen by (seed, split) and sorted by id.

    Raises
    ------
    InputError
        If there are fewer, or `count` is not positive.
    """
    if not 1 <= count <= len(samples):
        msg = f"{split}: asked for {count} samples, expected 1 to {len(samples)}"
        raise InputError(msg)
    order = permutation(seed, f"subset/{split}", 0, n=len(samples))
    return sorted((samples[i] for i in order[:count]), key=lambda triplet: triplet.id)


def write_subset(source: Path, out: Path, *, train: int, val: int, seed: int = 0) -> Path:
    """Copy a subset of `source` to `out` in the same layout and return its manifest.

    The manifest ``MANIFEST.tsv`` lists each file's path, SHA-256 and size in bytes.

    Raises
    ------
    InputError
        If a split has too few samples.
    FileExistsError
        If `out` already exists.
    """
    chosen = [
        *choose(list_triplets(source / "train"), train, seed=seed, split="train"),
        *choose(list_triplets(source / "val"), val, seed=seed, split="val"),
    ]
    out.mkdir(parents=True, exist_ok=False)
    lines = ["file\tsha256\tbytes"]
    for triplet in chosen:
        for path in (triplet.img_0, triplet.img_1, triplet.flow):
            relative = path.relative_to(source)
            target = out / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            content = target.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            lines.append(f"{relative.as_posix()}\t{digest}\t{len(content)}")
    manifest = out / "MANIFEST.tsv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest
