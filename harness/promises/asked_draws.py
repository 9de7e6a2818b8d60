"""Thousands of draws of a system, of several seeds and epochs, without training or decoding."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.promise import needs
from harness.promises.sampling import shuffles
from harness.systems.answers import AnswerError
from harness.systems.protocol import PRETRAINED, Arrays, Drawn, System

__all__ = [
    "ROOM", "SMALL_ROOM", "Asked", "AskedDraws", "BySeed", "Cycles", "Kernels", "Orders", "Windows",
    "ask", "asked_draws", "can_shuffle", "crops_at_random", "of_kind",
]  # fmt: skip

Key = tuple[int, int]
"""Seed and epoch."""

_SEEDS = (0, 1, 2, 10)
_EPOCHS = (1, 2, 3, 11, 101)
"""Seeds, from the configured one on, and epochs: a seed that is added to an epoch, or to ten or a
hundred times one, meets another epoch of another seed among them."""

_LATER = tuple(1 + 2**power for power in range(4, 9))
"""Epochs beside the first one: a generator, or a list of seeds, that starts anew after so many."""

_OFTEN = range(1, 101)
"""Epochs of few samples that are drawn with replacement: is each drawn as often as the others?"""

_SAMPLES, _MANY, _FEW = 500, 30_000, 12
"""Samples of the split as if: of every seed and epoch; so many that a large shuffle buffer does not
hold them, more than FlyingChairs2's 22,232; and so few that each must be drawn again and again."""

_UNEVEN = 199
"""Samples of the split as if: no batch of 2 to 5 fills it, so that some are left at the end."""

_STEPS, _MANY_STEPS, _FEW_STEPS = 100, 400, 20
"""Steps of an epoch, of every seed and epoch; of one; and of later ones beside it."""

_FEW_WINDOWS = 50
"""Crops of a later epoch: those of another one are none of them."""

_SEED_BITS = (2**8, 2**16)
"""Added to a seed: one of which so many bits are kept meets itself again."""

_FOR_NONE = (1, 2, 7, 10, 42, 100, 123, 666, 777, 1000, 1234, 1337, 2020, 2021, 3407, 12345)
"""Seeds beside 0: what stands for it where 0 is taken for no seed."""

_BRIEF = 60
"""Draws of each of these seeds: enough for no two to be alike by chance."""

ROOM = (960, 1260)
"""Places for a crop in the frame, down and across: 1,209,600, hardly any of them drawn twice."""

SMALL_ROOM = (6, 7)
"""So few that every one is drawn, those at the border too."""


@dataclass(frozen=True)
class Asked:
    """Draws of one kind: what each (seed, epoch) gave, as if of so many samples."""

    samples: int
    found: Mapping[Key, NDArray[np.int64]]


@dataclass(frozen=True)
class BySeed:
    """Draws of an epoch by seed, and what some seeds gave when they were asked again."""

    found: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    again: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Orders:
    """Orders of samples, each of shape (n,): of every seed and epoch, of many samples, of few.

    ``later`` holds those of one seed's first epoch and of epochs far behind it, ``seeds`` those of
    seeds that are easily taken for one another, and ``uneven`` those of a split that batches of no
    usual size of a gate fill.
    """

    full_pass: bool
    middle: Asked
    large: Asked
    few: Asked
    later: Asked
    seeds: BySeed = field(default_factory=BySeed)
    uneven: Asked = field(default_factory=lambda: Asked(0, {}))


@dataclass(frozen=True)
class Windows:
    """Top and left of crops, px, each of shape (n, 2), in a wide frame and in a narrow one.

    ``orders`` holds the samples that the wide ones are of; None where no order is told. ``later``
    holds wide ones of epochs far behind the first, and ``seeds`` those of seeds that are easily
    taken for one another.
    """

    wide: Asked
    narrow: Asked
    orders: Asked | None
    later: Asked
    seeds: BySeed = field(default_factory=BySeed)


@dataclass(frozen=True)
class Cycles:
    """Options that every step trains, each of shape (steps, archs, blocks).

    ``later`` holds those of many steps of one epoch, and of a few of epochs far behind it, and
    ``seeds`` those of seeds that are easily taken for one another.
    """

    asked: Asked
    later: Asked
    seeds: BySeed = field(default_factory=BySeed)


@dataclass(frozen=True)
class Kernels:
    """Kernels before training by seed, and the initialiser that the system names, if any."""

    initializer: str
    by_seed: Mapping[int, Arrays]


@dataclass(frozen=True)
class AskedDraws:
    """Everything that was asked; what a system does not draw is the reason that it gave."""

    found: Mapping[Drawn, Orders | Windows | Cycles | Kernels | NotApplicableError]


def ask(
    system: System, what: Drawn, seed: int, epoch: int, *,
    samples: int | None = None, frame: tuple[int, int] | None = None,
) -> NDArray[np.int64]:  # fmt: skip
    """Return an order, windows or archs as an array of integers.

    Raises
    ------
    AnswerError
        If the answer is of another name, dtype or number of axes.
    """
    answer = system.draws(what, seed, epoch, samples=samples, frame=frame)
    axes = {"order": 1, "windows": 2, "archs": 3}[what]
    array = answer.get(what)
    if array is None or array.dtype.kind not in "iu" or array.ndim != axes:
        shown = None if array is None else f"an array of {array.dtype} and shape {array.shape}"
        msg = f"draws({what!r}): expected {what!r}, integers on {axes} axes, found {shown}"
        raise AnswerError(msg)
    return np.asarray(array, np.int64)


def can_shuffle(bench: Bench) -> bool:
    """Return whether the system draws its order as configured; one that cannot says so."""
    given = bench.describe().settings.get("train.train_sampling_mode")
    return shuffles({"train_sampling_mode": given})


def crops_at_random(bench: Bench) -> bool:
    """Return whether training crops are random, as configured and as the system can vary them."""
    mode = bench.config["train"].get("train_crop_mode", "random")
    return bool(bench.describe().settings.get("train.train_crop_mode", mode) == "random")


def _seeds(bench: Bench) -> list[int]:
    fixed, seed = bench.describe().settings, int(bench.config["runtime"]["seed"])
    return [seed] if "runtime.seed" in fixed else [seed + more for more in _SEEDS]


def _asked(
    bench: Bench, system: System, what: Drawn, samples: int,
    *, seeds: int | None = None, epochs: Sequence[int] = _EPOCHS,
    room: tuple[int, int] | None = None,
) -> Asked:  # fmt: skip
    """Ask for the first so many seeds and for epochs; `room` is how many places a crop has."""
    frame = None
    if room is not None:
        data = bench.config["data"]
        frame = (data["input_height"] + room[0] - 1, data["input_width"] + room[1] - 1)
    keys = [(seed, epoch) for seed in _seeds(bench)[:seeds] for epoch in epochs]
    return Asked(
        samples,
        {(s, e): ask(system, what, s, e, samples=samples, frame=frame) for s, e in keys},
    )


def _by_seed(
    bench: Bench, system: System, what: Drawn, samples: int, *, wide: bool = False
) -> BySeed:
    """Ask for seeds that are easily taken for one another: of equal bits, 0 and usual ones."""
    if "runtime.seed" in bench.describe().settings:
        return BySeed()
    data, seed = bench.config["data"], int(bench.config["runtime"]["seed"])
    sides = (data["input_height"] + ROOM[0] - 1, data["input_width"] + ROOM[1] - 1)

    def asked(value: int) -> NDArray[np.int64]:
        return ask(system, what, value, 1, samples=samples, frame=sides if wide else None)

    seeds = dict.fromkeys((seed, *(seed + more for more in _SEED_BITS), 0, *_FOR_NONE))
    return BySeed({value: asked(value) for value in seeds}, {0: asked(0)})


def _orders(bench: Bench, system: System) -> Orders:
    if not can_shuffle(bench):
        mode = bench.describe().settings["train.train_sampling_mode"]
        msg = f"the system has train.train_sampling_mode {mode!r} alone, which is no shuffle"
        raise NotApplicableError(msg)
    full_pass = bench.config["train"].get("epoch_mode") == "full_pass"
    return Orders(
        full_pass,
        _asked(bench, system, "order", _SAMPLES),
        _asked(bench, system, "order", _MANY, seeds=2, epochs=_EPOCHS[:2]),
        _asked(bench, system, "order", _FEW, epochs=_EPOCHS if full_pass else _OFTEN),
        _asked(bench, system, "order", _SAMPLES, seeds=1, epochs=(1, *_LATER)),
        _by_seed(bench, system, "order", _BRIEF),
        _asked(bench, system, "order", _UNEVEN),
    )


def _windows(bench: Bench, system: System, orders: Asked | None) -> Windows:
    if not crops_at_random(bench):
        msg = "training crops are not random (train.train_crop_mode)"
        raise NotApplicableError(msg)
    return Windows(
        _asked(bench, system, "windows", _SAMPLES, room=ROOM),
        _asked(bench, system, "windows", _SAMPLES, seeds=2, epochs=_EPOCHS[:2], room=SMALL_ROOM),
        orders,
        _asked(bench, system, "windows", _FEW_WINDOWS, seeds=1, epochs=_LATER, room=ROOM),
        _by_seed(bench, system, "windows", _BRIEF, wide=True),
    )


def _cycles(bench: Bench, system: System) -> Cycles:
    batch = int(bench.config["train"]["batch_size"])
    many = _asked(bench, system, "archs", _MANY_STEPS * batch, seeds=1, epochs=(1,))
    few = _asked(bench, system, "archs", _FEW_STEPS * batch, seeds=1, epochs=_LATER)
    later = Asked(few.samples, {**many.found, **few.found})
    seeds = _by_seed(bench, system, "archs", _FEW_STEPS * batch)
    return Cycles(_asked(bench, system, "archs", _STEPS * batch), later, seeds)


def _kernels(bench: Bench, system: System) -> Kernels:
    if bench.describe().initializer == PRETRAINED:
        raise NotApplicableError("kernels are read from a file (describe()['initializer'])")
    by_seed = {seed: system.draws("kernels", seed) for seed in _seeds(bench)[:2]}
    return Kernels(bench.describe().initializer, by_seed)


@needs("draws")
def asked_draws(bench: Bench) -> AskedDraws:
    """Ask for draws of every kind while the system is lent once."""
    found: dict[Drawn, Any] = {}

    def made(make: Callable[[], Any]) -> Any:
        try:
            return make()
        except NotApplicableError as reason:
            return reason

    with bench.in_any_state() as system:
        found["order"] = orders = made(lambda: _orders(bench, system))
        middle = orders.middle if isinstance(orders, Orders) else None
        found["windows"] = made(lambda: _windows(bench, system, middle))
        found["archs"] = made(lambda: _cycles(bench, system))
        found["kernels"] = made(lambda: _kernels(bench, system))
    return AskedDraws(found)


def of_kind(bench: Bench, what: Drawn) -> Any:
    """Return what was asked of one kind.

    Raises
    ------
    NotApplicableError
        If the system does not draw it.
    """
    found = bench.evidence(asked_draws).found[what]
    if isinstance(found, NotApplicableError):
        raise found
    return cast("Any", found)
