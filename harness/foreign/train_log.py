"""EdgeFlowNAS's ``train.log``: sentences, among them what is planned and a line an epoch.

Its supernet trainers of all generations append to it: what was written before a restart stays.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.foreign.columns import ranking_of
from harness.foreign.run import Epoch, effective_epochs
from harness.foreign.text import each_line, number_of, refusal, whole_in
from harness.wording import quoted

__all__ = ["TrainLog", "read_train_log"]

_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \| [A-Z]+ \| (?P<said>.*)")
_STARTS = re.compile(r"start (strict-fairness supernet|supernet (?P<later>V\d+)) training\b.*")
_ENDS = re.compile(r"(strict-fairness supernet|supernet V\d+) training finished")
_STOPPED = "early stop triggered at epoch="
_RESUMES = "resume checkpoint="

_PLANNED: Mapping[str, str] = {
    "batch_size": "train.batch_size",
    "micro_batch_size": "train.micro_batch_size",
    "grad_clip_global_norm": "train.grad_clip_global_norm",
    "steps_per_epoch": "train.steps_per_epoch",
    "eval_every_epoch": "eval.eval_every_epoch",
    "eval_batches_per_arch": "eval.eval_batches_per_arch",
    "train_samples": "data.train_samples",
    "val_samples": "data.val_samples",
}
"""Words of its first lines, and the keys that they are values of."""

_WORDS = {
    "loss": "loss", "mean_epe_12": "epe", "std_epe_12": "epe_std", "fairness_gap": "fairness_gap",
    "grad_norm": "norm_mean", "grad_p90": "norm_p90", "clip_count": "clip_count",
    "clip_rate": "clip_rate", "lr": "lr",
}  # fmt: skip
"""Words of an epoch's line, and what they are here."""

_RATE_ROUNDED, _LR_ROUNDED = 5.1e-5, 5.1e-3
"""Half a unit of what ``%.4f`` and ``%.2e`` leave, and a little."""


@dataclass
class TrainLog:
    """What a log says.

    Attributes
    ----------
    epochs : tuple of Epoch
        Without what a later attempt made void.
    void : int
        How many it made void.
    planned : dict of str to float
        By configuration key, the last that was said.
    lines : dict of str to int
        Where each was said.
    attempts, resumed : int
        How often it was started, and continued from a checkpoint.
    later : str
        ``V2`` or ``V3`` of a later generation; empty for the first trainer.
    finished, stopped : bool
        Whether the last attempt came to its end, and whether early.
    cut : bool
        Whether the last line has no end.
    """

    epochs: tuple[Epoch, ...] = ()
    void: int = 0
    planned: dict[str, float] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    resumed: int = 0
    later: str = ""
    finished: bool = False
    stopped: bool = False
    cut: bool = False


def read_train_log(path: Path) -> TrainLog:
    """Read the log of a supernet trainer.

    Raises
    ------
    InputError
        If it is none, or a line that gives figures is not as that trainer writes it; names
        file, line and reason.
    """
    log = TrainLog()
    every: list[Epoch] = []
    for number, text, whole in each_line(path):
        if not whole:  # a kill may have cut its last number short
            log.cut = True
            break
        found = _LINE.fullmatch(text)
        if found is None:  # a traceback, or what a library prints
            continue
        said = found["said"]
        start = _STARTS.fullmatch(said)
        if start is not None:
            log.attempts, log.later = log.attempts + 1, start["later"] or ""
            log.finished = log.stopped = False
        elif not log.attempts:
            reason = f"expected a supernet trainer's first line, found {quoted(said)}"
            raise refusal(path, number, f"{reason}; {_ELSE}")
        else:
            _take_in(log, every, path, number, said)
    if not log.attempts:
        raise refusal(path, None, f"no supernet trainer began in it; {_ELSE}")
    log.epochs, log.void = effective_epochs(every)
    return log


_ELSE = "a CSV file of another trainer is audited by its own name, with --column NAME=COLUMN"


def _take_in(log: TrainLog, every: list[Epoch], path: Path, number: int, said: str) -> None:
    if _ENDS.fullmatch(said):
        log.finished = True
    elif said.startswith(_STOPPED):
        log.stopped = True
    elif said.startswith(_RESUMES):
        log.resumed += 1
    elif said.startswith("epoch="):
        epoch = _epoch(path, number, said)
        if epoch is not None:
            every.append(epoch)
    else:
        _plan(log, path, number, said)


def _plan(log: TrainLog, path: Path, number: int, said: str) -> None:
    # A folder's name may have blanks: what belongs to no word is passed over.
    for word in said.split(" "):
        name, is_one, value = word.partition("=")
        if is_one and name in _PLANNED:
            try:
                found = number_of(value)
            except ValueError as error:
                raise refusal(path, number, f"{name}: {error}") from None
            log.planned[_PLANNED[name]], log.lines[_PLANNED[name]] = found, number


def _epoch(path: Path, number: int, said: str) -> Epoch | None:
    """Return the epoch of a line; None for one that only adds the loss of a distillation."""
    words: dict[str, str] = {}
    for word in said.split(" "):
        name, is_one, value = word.partition("=")
        if not is_one or name in words:
            reason = f"expected NAME=VALUE, each once, found {quoted(word)}"
            raise refusal(path, number, reason)
        words[name] = value
    if words.keys() == {"epoch", "distill_loss"}:
        return None
    values: dict[str, float] = {}
    try:
        which = whole_in(words["epoch"])
        for name, mine in _WORDS.items():
            if name in words:
                values[mine] = number_of(words[name])
        rank = words.get("arch_rank_12", "")
        ranking = ranking_of(rank) if rank else ()
    except ValueError as error:
        raise refusal(path, number, str(error)) from None
    if "loss" not in values:
        raise refusal(path, number, f"expected loss=, found {quoted(said)}")
    return Epoch(
        which, f"{path.name}, line {number}", ranking=ranking, lr_error=_LR_ROUNDED,
        rate_error=_RATE_ROUNDED, **values,
    )  # fmt: skip
