"""The evidence book: each scenario drives the system once, and its evidence is kept."""

import copy
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from harness.evidence.observations import Arrays, Description, Evaluation, Training
from harness.relations.base import NotApplicableError
from harness.scenarios.fresh import Resumed, evaluated, resumed
from harness.systems.beside import Beside, Job, SecondProcess
from harness.systems.protocol import System, digests_of
from harness.systems.spec import SystemSpec

__all__ = [
    "BEFORE_EVALUATION", "BOUNDARY", "MID", "SCORES", "Book", "Cut", "Trained", "a_kernel",
    "changed",
]  # fmt: skip

Tree = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Trained:
    """The system after two epochs, with checkpoints of the way there.

    Attributes
    ----------
    system : System
        In the state of checkpoint ``end``.
    start, cut, end : str
        Checkpoint folders before training, after epoch 1 and after epoch 2.
    first, second : Training
        What each epoch did.
    start_state, cut_state, end_state : dict
        Digests by array.
    """

    system: System
    start: str
    cut: str
    end: str
    first: Training
    second: Training
    start_state: dict[str, str]
    cut_state: dict[str, str]
    end_state: dict[str, str]


@dataclass(frozen=True)
class Cut:
    """A run that was cut within an epoch: where, its checkpoint, and digests of its state."""

    name: str
    how: str
    path: str
    state: dict[str, str]


BOUNDARY, MID, BEFORE_EVALUATION = "cut", "cut-mid-epoch", "cut-before-evaluation"
SCORES = "scores"


@dataclass
class Book:
    """Makes evidence on demand and remembers it.

    Parameters
    ----------
    factory : callable
        Returns a new, unopened system in this process.
    spec : SystemSpec
        The same system, for a second process.
    config : mapping
        Configuration tree of the gate.
    folder : pathlib.Path
        For checkpoints and altered copies of data.
    scenarios : mapping
        Name to function of the book.
    overlap : bool, default False
        Ask the second process as soon as there is a checkpoint for it, so that it works
        beside this one.
    process : SecondProcess, optional
        One that other books use too. Default: one of its own.
    ahead : collection of str
        What it is asked then: to resume from cuts, and for the scores. Default: everything.
    """

    factory: Callable[[], System]
    spec: SystemSpec
    config: Tree
    folder: Path
    scenarios: Mapping[str, Callable[["Book"], Any]]
    overlap: bool = False
    process: SecondProcess | None = None
    ahead: Collection[str] = (BOUNDARY, SCORES, MID, BEFORE_EVALUATION)
    _kept: dict[str, Any] = field(default_factory=dict)
    _failed: dict[str, Exception] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """Return a scenario's evidence, making it on first use.

        Raises
        ------
        KeyError
            If there is no such scenario.
        """
        if name not in self.scenarios:
            msg = f"no scenario {name!r}, expected one of {', '.join(self.scenarios)}"
            raise KeyError(msg)
        return self._once(name, lambda: self.scenarios[name](self))

    def _once(self, name: str, make: Callable[[], T]) -> T:
        """Make something on first use; what failed fails again with the same cause."""
        if name in self._failed:
            raise self._failed[name].with_traceback(None)
        if name not in self._kept:
            try:
                self._kept[name] = make()
            except Exception as error:
                self._failed[name] = error
                raise
        return self._kept[name]  # type: ignore[no-any-return]

    def open(self, **sections: Tree) -> System:
        """Return a new system, opened on the gate's configuration with changed keys."""
        system = self.factory()
        system.open(changed(self.config, **sections))
        return system

    def open_cheaply(self, evaluation: Tree, **sections: Tree) -> System:
        """Open with fewer evaluation batches, as far as the system can vary them."""
        fixed = self.describe().settings
        asked = {k: v for k, v in evaluation.items() if f"eval.{k}" not in fixed}
        return self.open(eval=asked, **sections)

    def describe(self) -> Description:
        """Return the system's description without opening it; it is asked once."""
        if "description" not in self._kept:
            self._kept["description"] = self.factory().describe()
        return self._kept["description"]  # type: ignore[no-any-return]

    @property
    def trainable(self) -> bool:
        """Whether the system offers the calls that :attr:`trained` makes."""
        return self.describe().can.issuperset(_TRAINING)

    @property
    def measured(self) -> System:
        """The system whose scores are looked at: the trained one, or else one as opened."""
        if self.trainable:
            return self.trained.system
        if "measured" not in self._kept:
            self._kept["measured"] = self.open()
        return self._kept["measured"]  # type: ignore[no-any-return]

    @property
    def trained(self) -> Trained:
        """The trained system that most scenarios share.

        Raises
        ------
        NotApplicableError
            If the system does not offer what is needed to train, cut and resume it.
        """
        begun = "trained" in self._kept
        trained = self._once("trained", lambda: _train(self))
        if not begun and "steps" in trained.system.describe().supports:
            for name in (MID, BEFORE_EVALUATION):
                if self.overlaps(name):
                    with suppress(Exception):  # kept, and raised where it is asked for
                        self._resume(name)
        return trained

    def overlaps(self, name: str) -> bool:
        """Return whether the second process is asked something as early as possible."""
        return self.overlap and name in self.ahead

    def cut(self, name: str) -> Cut:
        """Return where a run was cut: at the boundary of the epochs, or within the first two."""
        if name == BOUNDARY:
            return Cut(name, "cut after epoch 1", self.trained.cut, self.trained.cut_state)
        return self._once(name, lambda: _cut(self, name))

    def resumed(self, name: str) -> Resumed:
        """Return what the second process did from a cut on."""
        return self._resume(name).result()

    def evaluated(self) -> Evaluation:
        """Return the scores that the second process gives the checkpoint ``end``."""
        return self._evaluate(self.trained.end).result()

    def _resume(self, name: str) -> "Future[Resumed]":
        return self._ask(f"resumed {name}", partial(resumed, self.config, self.cut(name).path))

    def _evaluate(self, path: str) -> "Future[Evaluation]":
        return self._ask(SCORES, partial(evaluated, self.config, path))

    def _ask(self, name: str, job: Job[T]) -> "Future[T]":
        """Ask the second process, once."""
        return self._once(name, lambda: self._beside.submit(job))

    @property
    def _beside(self) -> Beside:
        return self._once("beside", lambda: Beside(self.spec, self.config, self.process))

    def close(self) -> None:
        """End what the second process does for this book, and close the trained system."""
        if "beside" in self._kept:
            self._kept["beside"].close()
        if "trained" in self._kept:
            self._kept["trained"].system.close()
        if "measured" in self._kept:
            self._kept["measured"].close()


_TRAINING = ("train", "state", "save", "restore")


def _require_training(book: Book) -> None:
    absent = [call for call in _TRAINING if call not in book.describe().can]
    if absent:
        msg = f"the system does not offer {', '.join(absent)}"
        raise NotApplicableError(msg)


def a_kernel(state: Arrays) -> str:
    """Return the name of the first convolution kernel, an array of four axes.

    Raises
    ------
    NotApplicableError
        If there is none.
    """
    for name, array in state.items():
        if np.asarray(array).ndim == 4:
            return name
    msg = "the system's state has no kernel, an array of four axes"
    raise NotApplicableError(msg)


def changed(config: Tree, **sections: Tree) -> dict[str, Any]:
    """Return a deep copy of a configuration tree with keys of sections replaced."""
    tree = copy.deepcopy(dict(config))
    for section, values in sections.items():
        tree[section] = {**tree.get(section, {}), **values}
    return tree


def _train(book: Book) -> Trained:
    _require_training(book)
    system = book.open()
    (book.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    start, cut, end = (str(book.folder / "checkpoints" / n) for n in ("start", "cut", "end"))
    start_state = digests_of(system)
    system.save(start)
    first = system.train(1)
    cut_state = digests_of(system)
    system.save(cut)
    if book.overlaps(BOUNDARY):
        book._ask(f"resumed {BOUNDARY}", partial(resumed, book.config, cut))
    second = system.train(2)
    end_state = digests_of(system)
    system.save(end)
    if book.overlaps(SCORES):
        book._evaluate(end)
    return Trained(system, start, cut, end, first, second, start_state, cut_state, end_state)


def _cut(book: Book, name: str) -> Cut:
    """Cut a run within an epoch, and leave the trained system as it was."""
    trained, system, path = (
        book.trained,
        book.trained.system,
        str(book.folder / "checkpoints" / name),
    )
    mid = name == MID
    try:
        system.restore(trained.cut if mid else trained.start)
        system.train(2 if mid else 1, steps=1 if mid else len(trained.first.steps))
        system.save(path)
        how = "cut after step 1 of epoch 2" if mid else "cut after the last batch of epoch 1"
        return Cut(name, how, path, digests_of(system))
    finally:
        system.restore(trained.end)
