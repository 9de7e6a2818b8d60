"""A small subset of a FlyingChairs2 folder: deterministic choice, manifest with hashes."""

import filecmp
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from harness.devices import read_regular
from harness.errors import InputError
from harness.fc2.layout import Triplet, left_lines, list_triplets
from harness.streams import permutation
from harness.whole import whole_folder

__all__ = ["choose", "write_subset"]

_MANIFEST, _HEAD = "MANIFEST.tsv", "file\tsha256\tbytes"


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


def write_subset(
    source: Path, out: Path, *, train: int, val: int, seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> Path:  # fmt: skip
    """Copy a subset of `source` to `out` in the same layout and return its manifest.

    The manifest ``MANIFEST.tsv`` lists each file's path, SHA-256 and size in bytes. The folder is
    there whole or not at all.

    Parameters
    ----------
    tell : callable, optional
        Called with a line on what the source holds beside samples. Default: nobody hears.

    Raises
    ------
    InputError
        If a split has too few samples.
    FileExistsError
        If `out` already exists and is not that very subset.
    harness.whole.NotWrittenError
        If the system refuses, for example because the disk is full.
    """
    splits = list_triplets(source / "train"), list_triplets(source / "val")
    if tell is not None:
        for line in left_lines(*splits):
            tell(line)
    chosen = [
        *choose(splits[0], train, seed=seed, split="train"),
        *choose(splits[1], val, seed=seed, split="val"),
    ]
    files = {
        path.relative_to(source): path
        for triplet in chosen
        for path in (triplet.img_0, triplet.img_1, triplet.flow)
    }
    if out.exists():
        _require_same(out, files)
        return out / _MANIFEST
    with whole_folder(out) as aside:
        lines = [_HEAD]
        for relative, path in files.items():
            content = read_regular(path)
            (aside / relative).parent.mkdir(parents=True, exist_ok=True)
            (aside / relative).write_bytes(content)
            lines.append(_line(relative, content))
        (aside / _MANIFEST).write_text(_text(lines), encoding="utf-8")
    return out / _MANIFEST


def _require_same(out: Path, files: Mapping[Path, Path]) -> None:
    """Refuse a folder that is not the subset of these files, by its name and theirs."""
    found = {path.relative_to(out) for path in out.rglob("*") if not path.is_dir()}
    same = (
        found == {*files, Path(_MANIFEST)}
        and all(filecmp.cmp(path, out / at, shallow=False) for at, path in files.items())
        and read_regular(out / _MANIFEST)
        == _text([_HEAD, *(_line(at, read_regular(path)) for at, path in files.items())]).encode()
    )
    if not same:
        msg = f"{out}: exists and is not this subset; name another folder, or remove it"
        raise FileExistsError(msg)


def _line(relative: Path, content: bytes) -> str:
    return f"{relative.as_posix()}\t{hashlib.sha256(content).hexdigest()}\t{len(content)}"


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
