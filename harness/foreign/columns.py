"""Which column is which, and rows of steps put together to epochs."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.errors import InputError
from harness.foreign.run import Epoch, Ranking, effective_epochs, grown
from harness.foreign.text import number_of, whole_in
from harness.wording import quoted

__all__ = ["KNOWN", "Row", "epochs_of_rows", "named_columns", "ranking_of", "row_of_cells"]

KNOWN: Mapping[str, tuple[str, ...]] = {
    "epoch": ("epoch",),
    "epe": ("mean_epe_12", "val_epe", "val/epe", "val_EPE", "val/EPE", "EPE", "epe"),
    "epe_std": ("std_epe_12", "val_epe_std", "epe_std"),
    "loss": (
        "train_loss_epoch_avg", "train_loss_epoch", "train_loss", "train_loss_step", "train/loss",
        "loss",
    ),
    "lr": ("lr", "learning_rate", "base_lr"),
    "norm": ("train_grad_norm_epoch_avg", "grad_2.0_norm_total", "grad_norm", "train/grad_norm"),
    "norm_p50": ("train_grad_norm_p50", "grad_norm_p50"),
    "norm_p90": ("train_grad_norm_p90", "grad_norm_p90"),
    "norm_p99": ("train_grad_norm_p99", "grad_norm_p99"),
    "clip_count": ("clip_trigger_count", "clip_count"),
    "clip_rate": ("clip_trigger_rate", "clip_rate"),
    "fairness_gap": ("fairness_gap",),
    "ranking": ("arch_rank_12", "arch_rank"),
}  # fmt: skip
"""What a column is to the checks, and names under which it is looked for, the first that is there.

``lr-Adam`` and its kind is what Lightning's ``LearningRateMonitor`` logs, ``grad_2.0_norm_total``
what its ``grad_norm`` returns; ``lr``, ``loss`` and ``grad_norm`` are MMEngine's.
"""

_TOLD = ("epe", "loss", "norm", "norm_p50", "clip_rate")
"""Of these, at least one is needed."""


def named_columns(given: Mapping[str, str], there: Sequence[str]) -> dict[str, str]:
    """Return the column of each name of `KNOWN` that a file has.

    Parameters
    ----------
    given : mapping of str to str
        What the user says, which goes before what is known.
    there : sequence of str
        The file's columns.

    Raises
    ------
    InputError
        If a name is unknown, or a column is not there; says which are.
    """
    for name, column in given.items():
        if name not in KNOWN:
            msg = f"--column {quoted(name)}: expected one of {', '.join(KNOWN)}"
            raise InputError(msg)
        if column not in there:
            raise InputError(f"--column {name}: no column {quoted(column)}; {_has(there)}")
    found = {
        name: next(one for one in names if one in there)
        for name, names in KNOWN.items()
        if any(one in there for one in names)
    }
    rates = [column for column in there if column.startswith("lr-")]
    if "lr" not in found and len(rates) == 1:
        found["lr"] = rates[0]
    found.update(given)
    if not any(name in found for name in _TOLD):
        names = ", ".join(_TOLD)
        msg = f"none of its columns is known as {names}: name one, --column NAME=COLUMN; "
        raise InputError(msg + _has(there))
    return found


def _has(there: Sequence[str]) -> str:
    more = " and more" if len(there) > 20 else ""
    return f"it has {', '.join(quoted(one, 40) for one in there[:20])}{more}"


@dataclass(frozen=True)
class Row:
    """One line of a log, of a step or of an epoch.

    Attributes
    ----------
    where : str
        File and line.
    epoch : int
    values : mapping of str to float
        By the names of `KNOWN`; what the line does not have is absent.
    ranking : tuple of (int, float)
    """

    where: str
    epoch: int
    values: Mapping[str, float]
    ranking: Ranking = ()


@dataclass
class _Draft:
    """An epoch while its rows are read."""

    first: Row
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)
    counts: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    ranking: Ranking = ()

    def add(self, row: Row) -> None:
        lists = {"loss": self.losses, "norm": self.norms, "clip_count": self.counts,
                 "clip_rate": self.rates}  # fmt: skip
        for name, value in row.values.items():
            if name in lists:
                lists[name].append(value)
            else:
                self.last[name] = value
        self.ranking = row.ranking or self.ranking

    def epoch(self) -> Epoch:
        made = grown(
            Epoch(self.first.epoch, self.first.where, loss=_mean(self.losses),
                  clip_rate=_mean(self.rates), ranking=self.ranking,
                  clip_count=math.fsum(self.counts) if self.counts else None),
            self.norms,
        )  # fmt: skip
        return replace(made, **self.last)  # type: ignore[arg-type]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def epochs_of_rows(rows: Iterable[Row]) -> tuple[tuple[Epoch, ...], int]:
    """Return epochs, each of the rows in a row that name it, and how many a later one voids."""
    return effective_epochs(_each_epoch(rows))


def _each_epoch(rows: Iterable[Row]) -> Iterator[Epoch]:
    draft: _Draft | None = None
    for row in rows:
        if draft is None or draft.first.epoch != row.epoch:
            if draft is not None:
                yield draft.epoch()
            draft = _Draft(row)
        draft.add(row)
    if draft is not None:
        yield draft.epoch()


def row_of_cells(
    where: str, cells: Mapping[str, str], columns: Mapping[str, str],
    refuse: Callable[[str], InputError],
) -> Row:  # fmt: skip
    """Return the row of a table's cells; an empty cell says nothing.

    Raises
    ------
    InputError
        As `refuse` makes it, of the column and what was expected there.
    """
    values: dict[str, float] = {}
    ranking: Ranking = ()
    for name, column in columns.items():
        cell = cells[column]
        try:
            if name == "ranking":
                ranking = ranking_of(cell) if cell else ()
            elif cell or name == "epoch":
                values[name] = whole_in(cell) if name == "epoch" else number_of(cell)
        except ValueError as error:
            raise refuse(f"{quoted(column, 40)}: {error}") from None
    epoch = int(values.pop("epoch"))
    return Row(where, epoch, values, ranking)


def ranking_of(text: str) -> Ranking:
    """Return a ranking as EdgeFlowNAS writes it: ``rank:index:EPE`` with ``|`` between.

    Raises
    ------
    ValueError
        If it is none; says where.
    """
    found = []
    for place, part in enumerate(text.split("|"), start=1):
        pieces = part.split(":")
        if len(pieces) != 3 or pieces[0] != str(place):
            msg = f"expected {place}:INDEX:EPE in the ranking, found {quoted(part)}"
            raise ValueError(msg)
        found.append((whole_in(pieces[1]), number_of(pieces[2])))
    if len({index for index, _ in found}) != len(found):
        msg = f"expected each arch once in the ranking, found {quoted(text)}"
        raise ValueError(msg)
    return tuple(found)
