"""How the records of a run that was cut and resumed differ from those of one that was not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.promises.promise import Violation, differences

__all__ = ["WALL_CLOCK", "Row", "row_differences", "step_differences"]

Row = Mapping[str, Any]
"""A record by field."""

WALL_CLOCK = ("eval_seconds", "bn_recal_seconds", "checkpoint_digest")
"""Columns left out: two are wall-clock times, the third is absent without checkpoints."""

_DRAWN = {"archs": "archs", "batch": "batches"}
"""Fields of a step that say what was drawn for it, and what they hold in words."""


def step_differences(
    straight: Sequence[Row], resumed: Sequence[Row], first_epoch: Sequence[Row], *, cut: str
) -> list[Violation]:
    """Return how many steps there are after a cut, and how the first that differs does.

    Parameters
    ----------
    straight, resumed, first_epoch : sequence of mapping
        Steps after the cut without it and with it, and those of epoch 1, by field.
    cut : str
        Where it was cut.
    """
    violations = []
    if len(straight) != len(resumed):
        violations.append(
            Violation(f"{cut}: steps after the cut", str(len(straight)), str(len(resumed)))
        )
    for whole, again in zip(straight, resumed, strict=False):
        if whole != again:
            # The first alone: the steps after it follow from it.
            where = f"{cut}: step {whole['step']} of epoch {whole['epoch']}"
            found = _repeated(straight, resumed, first_epoch) or _unlike(whole, again)
            kind = "draws" if any(whole[name] != again.get(name) for name in _DRAWN) else ""
            violations.append(Violation(where, "as without the cut", found, kind))
            break
    return violations


def _repeated(straight: Sequence[Row], resumed: Sequence[Row], first_epoch: Sequence[Row]) -> str:
    """Return which draws of epoch 1 all steps after the cut have again; empty if none."""
    steps = list(zip(first_epoch, resumed, strict=False))
    again = [
        words for name, words in _DRAWN.items()
        if steps and all(one[name] == other[name] for one, other in steps)
        and straight[0][name] != resumed[0][name]
    ]  # fmt: skip
    return f"the {' and '.join(again)} of epoch 1 again" if again else ""


def _unlike(whole: Row, again: Row) -> str:
    """Return in words what differs between two records of a step; what was drawn first."""
    names = [name for name in whole if whole[name] != again.get(name)]
    drawn = [f"other {words}" for name, words in _DRAWN.items() if name in names]
    # Of another batch the loss and its norms are others too.
    rest = [name for name in names if name not in (_FOLLOWS if drawn else _DRAWN)]
    return ", ".join(drawn + [_instead(name, whole, again) for name in rest if name not in _DRAWN])


_FOLLOWS = ("loss", "norm", "checks", "clipped")


def _instead(name: str, whole: Row, again: Row) -> str:
    one, other = (f"{row.get(name):.6g}" if isinstance(row.get(name), float) else str(row.get(name))
                  for row in (whole, again))  # fmt: skip
    # What first differs in its last bits is told in full.
    one, other = (one, other) if one != other else (str(whole.get(name)), str(again.get(name)))
    return f"{name} {other} for {one}"


def row_differences(
    straight: Sequence[Row], resumed: Sequence[Row], *, cut: str
) -> list[Violation]:
    """Return how many rows of the log there are after a cut, and the columns that differ."""
    violations = []
    if len(straight) != len(resumed):
        violations.append(
            Violation(f"{cut}: epoch rows after the cut", str(len(straight)), str(len(resumed)))
        )
    for row, other in zip(straight, resumed, strict=False):
        what = f"{cut}: epoch {row['epoch']}, column"
        whole, again = _without_clock(row), _without_clock(other)
        unlike = [name for name in whole if whole[name] != again.get(name)]
        # Where an evaluation does not repeat itself, its columns say nothing of the resume.
        kind = "other scores" if all("epe" in n or "tau" in n for n in unlike) else ""
        violations += [replace(v, kind=kind) for v in differences(whole, again, what=what)]
    return violations


def _without_clock(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in WALL_CLOCK}
