"""What is wrong, or missing, in one answer of an adapter, in words and with what to do about it."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.archs import array_of
from harness.config import field_kinds
from harness.digest import state_digests
from harness.promises.promise import grouped_differences
from harness.promises.registry import PROMISES
from harness.systems.protocol import METHODS, Arrays, Description, Recalibration
from harness.wording import counted

__all__ = [
    "Finding", "as_before", "assigned", "brought_back", "described", "moved", "opened_alike",
    "predicted", "recalibrated", "saved", "scored", "stated",
]  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Something about one call that its author should know.

    Attributes
    ----------
    text : str
        What was found, with the value and what was expected.
    advice : str
        What to do.
    wrong : bool
        Whether it has to be mended; else it is a note.
    """

    text: str
    advice: str = ""
    wrong: bool = True


_SUPPORTS = ("steps", "stops", "frozen", "skeletons", "knobs")
_RUNNING = re.compile(r"running_(mean|var)(iance)?(:\d+)?$")


def described(about: Description, methods: Collection[str]) -> Iterator[Finding]:
    """Yield what a description says of itself that is not so.

    Parameters
    ----------
    methods : collection of str
        Names that the adapter's object has.
    """
    own = {name for name in methods if not name.startswith("_")} - set(METHODS)
    for name in sorted(about.can - set(methods) - {"close"}):
        yield Finding(
            f"can names {name!r}, and the class has no method of that name",
            _meant(name, own) or "write it, or take it off can",
        )
    for name in METHODS:
        # A base of ours has every call, and says itself which of them are written.
        if not {"_writes", "_has"}.isdisjoint(methods):
            break
        if name in methods and name not in about.can and name != "close":
            yield Finding(
                f"{name} is written and not in can, so that nobody asks for it",
                "add it to can once it answers", wrong=False,
            )  # fmt: skip
    if "open" not in about.can:
        yield Finding("can lacks 'open', without which nothing can be asked", "add it to can")
    for what, names, known in (
        ("supports", about.supports, _SUPPORTS),
        ("settings", about.settings, tuple(field_kinds())),
        ("known_defects", about.known_defects, tuple(PROMISES)),
    ):
        yield from _unknown(what, names, known)


def as_before(before: Description, after: Description) -> Iterator[Finding]:
    """Yield what a description says otherwise once the system is open: a gate asks before."""
    for name in ("can", "supports", "settings", "whole_batches", "stride"):
        one, other = getattr(before, name), getattr(after, name)
        if one != other:
            yield Finding(
                f"{name} differs before and after open(): {_listed(one)}, then {_listed(other)}",
                "say the same both times: what is not said before is never asked for",
            )


def _listed(value: Any) -> str:
    return ", ".join(sorted(map(str, value))) if isinstance(value, frozenset) else str(value)


def _unknown(what: str, names: Iterable[str], known: Sequence[str]) -> Iterator[Finding]:
    for name in sorted(set(names).difference(known)):
        shown = ", ".join(known) if len(known) < 9 else f"one of {len(known)} names"
        yield Finding(
            f"{what} names {name!r}, expected {shown}",
            _meant(name, known) or f"docs/your-trainer.md says which {what} there are",
        )


def _meant(name: str, known: Iterable[str]) -> str:
    """Return which name was probably meant; nothing where none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"did you mean {close[0]!r}?" if close else ""


def stated(about: Description, state: Arrays) -> Iterator[Finding]:
    """Yield what the arrays of a state, or the names that the description has of them, lack."""
    if not state:
        yield Finding(
            "expected every array that determines what follows, found none",
            "return weights, statistics, optimizer slots, counters and generators by name",
        )
        return
    for place, name in _named(about):
        if name not in state:
            yield Finding(
                f"describe().{place} names {name!r}, which is no array of state()",
                _meant(name, state) or f"state() has {_few(state)}",
            )
    yield from _misnamed(state)
    bad = [name for name, array in state.items() if array.dtype.kind == "f" and _odd(array)]
    if bad:
        yield Finding(f"{_few(bad)} hold NaN or infinity right after open()", "look at the start")
    if "train" in about.can and not any(name.startswith("progress/") for name in state):
        yield Finding(
            "no array under 'progress/': a resume needs counters and generator states",
            "add np.array(step), np.array(epoch) and each generator's state as bytes (np.uint8)",
        )
    if not any(array.ndim == 4 for array in state.values()):
        yield Finding(
            "no array has four axes, so that no kernel can be changed to see what follows",
            "hand kernels over as (h, w, inputs, outputs), whatever they are inside", wrong=False,
        )  # fmt: skip


def _misnamed(state: Arrays) -> Iterator[Finding]:
    running = [name for name in state if _RUNNING.search(name)]
    if running:
        yield Finding(
            f"{_few(running)}: moving statistics, by a name that says they are weights",
            "end their names in moving_mean and moving_variance",
        )
    counters = [
        name for name, array in state.items()
        if array.dtype.kind != "f" and not name.startswith("progress/")
    ]  # fmt: skip
    if counters:
        name = counters[0]
        yield Finding(
            f"{_few(counters)}: {state[name].dtype}, which no weight or statistic is",
            f"counters and generator states go under 'progress/', as 'progress/{name}'",
        )


def _named(about: Description) -> Iterator[tuple[str, str]]:
    """Yield every name of an array that a description has, with where it stands."""
    for head, kernels in about.heads.items():
        yield from ((f"heads[{head!r}]", name) for name in kernels)
    for weight, pair in about.slots.items():
        yield from (("slots", name) for name in (weight, *pair))
    for what in ("options", "option_arrays"):
        for block, options in enumerate(getattr(about, what)):
            for option, names in enumerate(options):
                place = f"{what}[{block}][{option}]"
                yield from ((place, array_of(name)) for name in names)


def assigned(before: Arrays, name: str, value: Any, after: Arrays) -> Iterator[Finding]:
    """Yield what state(changes) did other than to assign the array and keep the rest."""
    if name not in after or not np.array_equal(after[name], value, equal_nan=True):
        yield Finding(
            f"state({{{name!r}: ...}}) did not assign the array: it came back as it was",
            "copy the values into the trainer's own array, and return that",
        )
    others = sorted(n for n in before if n != name and not _alike(before[n], after.get(n)))
    if others:
        yield Finding(
            f"state({{{name!r}: ...}}) changed {_few(others)} too", "keep what is not named"
        )


def opened_alike(first: Arrays, second: Arrays) -> Iterator[Finding]:
    """Yield how two systems that were opened under one seed differ."""
    for text in _differences(first, second, "opened twice under one runtime.seed:"):
        yield Finding(text, "seed every generator in open(), before the model is built")


def brought_back(saved: Arrays, restored: Arrays) -> Iterator[Finding]:
    """Yield what a restore did not bring back."""
    for text in _differences(saved, restored, "restored by a second instance:"):
        yield Finding(text, "save it and restore it: a resume goes on otherwise than it stopped")


def moved(before: Arrays, after: Arrays) -> Iterator[Finding]:
    """Yield what an epoch of training should have moved."""
    changed = [name for name in before if not _alike(before[name], after.get(name))]
    if not any(not name.startswith("progress/") for name in changed):
        yield Finding(
            "an epoch of training changed no weight, statistic or slot of state()",
            "return the arrays of the model that train() trains, not of a copy",
        )
    counters = [name for name in before if name.startswith("progress/")]
    if counters and not set(counters) & set(changed):
        yield Finding(
            f"an epoch of training changed no counter or generator ({_few(counters)})",
            "read them from the trainer each time that state() is asked",
        )
    lost = sorted(before.keys() ^ after.keys())
    if lost:
        yield Finding(
            f"names differ before and after training: {_few(lost)}",
            "build optimizer slots in open(), so that names are stable",
        )


def _differences(expected: Arrays, found: Arrays, what: str) -> list[str]:
    digests = [state_digests(dict(arrays)) for arrays in (expected, found)]
    return [str(one) for one in grouped_differences(*digests, what=what)]


def predicted(outputs: Sequence[Any], shape: tuple[int, ...]) -> Iterator[Finding]:
    """Yield what outputs for frames of a shape (B, H, W, 6) lack."""
    samples, height, width = shape[:3]
    if not outputs:
        yield Finding("expected residual outputs, coarse to fine, found none", "return a list")
    for index, output in enumerate(outputs):
        size, h, w, channels = output.shape
        other = abs(h * width - w * height) > max(height, width)
        if size != samples or channels < 2 or other:
            yield Finding(
                f"output {index}: expected shape ({samples}, h, w, 2 or more) with h to w as "
                f"{height} to {width}, found {output.shape}",
                "channels last: .transpose(0, 2, 3, 1) of (B, channels, h, w)",
            )
        elif _odd(output):
            yield Finding(f"output {index} holds NaN or infinity", "look at predict()")


def scored(scores: Any, samples: int) -> Iterator[Finding]:
    """Yield what a metric's answer for a batch of so many samples lacks."""
    if len(scores) != samples:
        yield Finding(
            f"expected an EPE of each of {counted(samples, 'sample')}, found {len(scores)}",
            "average over each sample's known pixels, not over the batch",
        )
    elif _odd(scores) or (scores < 0).any():
        yield Finding(f"expected EPEs of 0 px or more, found {scores.tolist()}", "look at score()")


def recalibrated(found: Recalibration) -> Iterator[Finding]:
    """Yield what recalibrated statistics lack."""
    if not found.stats:
        yield Finding("stats is empty: nothing was recalibrated", "give each unit's statistics")
    for unit, pair in found.stats.items():
        if any(array.ndim != 1 or _odd(array) for array in pair) or pair[0].shape != pair[1].shape:
            yield Finding(
                f"stats[{unit!r}]: expected mean and variance of shape (channels,), finite, found "
                f"shapes {pair[0].shape} and {pair[1].shape}",
                "one value for each channel",
            )
            return


def saved(place: Path, files: Sequence[Path]) -> Iterator[Finding]:
    """Yield what a checkpoint lacks that was saved at a place."""
    if not place.is_dir():
        yield Finding("save(path) made no folder of that name", "os.makedirs(path), then write")
    elif not files:
        yield Finding("save(path) left its folder empty", "write the checkpoint into it")


def _odd(array: Any) -> bool:
    return not bool(np.isfinite(array).all())


def _alike(one: Any, other: Any) -> bool:
    return (
        other is not None and one.shape == other.shape and one.dtype == other.dtype
        and one.tobytes() == other.tobytes()
    )  # fmt: skip


def _few(names: Iterable[str] | Mapping[str, Any]) -> str:
    """Return some names, and how many more there are."""
    every = list(names)
    rest = f" and {len(every) - 3} more" if len(every) > 3 else ""
    return ", ".join(map(repr, every[:3])) + rest
