"""Scores that ``harness eval --json`` wrote, read again for a page."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from harness.errors import InputError
from harness.evaluation.scored_space import ScoredSpace, scored_space
from harness.evaluation.search_space import Effect, Stability
from harness.reporting.space import batches_text
from harness.sealed import NO_SEAL, read_sealed
from harness.wording import counted

__all__ = ["SpaceFile", "read_space"]

_STRICT = ConfigDict(extra="ignore", allow_inf_nan=False)


@checked(config=_STRICT)
class _Effects:
    effects: list[Effect]


@checked(config=_STRICT)
class _Space:
    skeleton: str
    width: int
    crop: tuple[int, int]
    effects: _Effects
    stability: list[Stability]


@checked(config=_STRICT)
class _Content:
    archs: list[str]
    per_arch_epe: list[float]
    checkpoint: str
    checkpoint_digest: str
    epoch: int
    batches: int
    recal_batches: int
    eval_batch_hash: str
    bn_recal_batch_hash: str
    space: _Space


@dataclass(frozen=True)
class SpaceFile:
    """One evaluation of a pool.

    Attributes
    ----------
    name : str
        Of the file.
    space : ScoredSpace
    checkpoint, digest : str
        What was scored.
    epoch : int
        Of the checkpoint.
    batches, recal : int
        K and R.
    eval_hash : str
        Digest of the validation batches.
    """

    name: str
    space: ScoredSpace
    checkpoint: str
    digest: str
    epoch: int
    batches: int
    recal: int
    eval_hash: str

    @property
    def label(self) -> str:
        """What it is, in words."""
        return (
            f"{self.name}: {counted(len(self.space.archs), 'arch')}, epoch {self.epoch}, "
            f"{batches_text(self.batches, self.recal)}"
        )


def read_space(path: Path, tell: Callable[[str], None] | None = None) -> SpaceFile:
    """Read what ``harness eval --json`` wrote; costs, fronts and effects are counted again.

    Parameters
    ----------
    tell : callable, optional
        Receives a sentence on a file that carries no digest.

    Raises
    ------
    InputError
        Naming the file and what is wrong in it.
    """
    try:
        content, sealed = read_sealed(path)
        if not sealed and tell is not None:
            tell(f"{path}: {NO_SEAL}")
        # As JSON: there a list stands for a tuple, and of the types nothing else is taken.
        found = TypeAdapter(_Content).validate_json(json.dumps(content), strict=True)
        space = _counted(found)
    except OSError as error:
        msg = f"{path}: not readable: {error.strerror}"
        raise InputError(msg) from None
    except ValidationError as error:
        raise InputError(f"{path}: {_first(error)}") from None
    except (ValueError, KeyError) as error:
        msg = f"{path}: expected what `harness eval --json` writes: {error}"
        raise InputError(msg) from None
    return SpaceFile(
        path.name, space, found.checkpoint, found.checkpoint_digest, found.epoch, found.batches,
        found.recal_batches, found.eval_batch_hash,
    )  # fmt: skip


def _counted(found: Any) -> ScoredSpace:
    """Return what follows from the scores; of each effect the error over samples as it was told."""
    told = found.space
    space = scored_space(
        found.archs, found.per_arch_epe, skeleton=told.skeleton, width=told.width,
        size=(told.crop[0], told.crop[1]),
    )  # fmt: skip
    over = {(one.block, one.option): one.over_samples for one in told.effects.effects}
    effects = tuple(
        replace(one, over_samples=over.get((one.block, one.option)))
        for one in space.effects.effects
    )
    return replace(
        space, effects=replace(space.effects, effects=effects), stability=tuple(told.stability)
    )


def _first(error: ValidationError) -> str:
    wrong = error.errors()[0]
    place = ".".join(map(str, wrong["loc"]))
    if place == "space":
        return "it says nothing of the search space: `harness eval --json` of this version does"
    return f"expected what `harness eval --json` writes: {place or 'it'}: {wrong['msg']}"
