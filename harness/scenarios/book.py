"""The evidence book: each scenario drives the system once, and its evidence is kept."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.evidence.observations import Arrays, Description, Evaluation, Training
from harness.relations.base import NotApplicableError
from harness.systems.fresh import Call, Pending, start_fresh, state_digests
from harness.systems.protocol import System
from harness.systems.spec import SystemSpec

__all__ = [
    "BEFORE_EVALUATION", "MID", "Book", "Cut", "Trained", "a_kernel", "changed",
    "evaluation_from_json", "resumed",
]  # fmt: skip

Tree = Mapping[str, Any]


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


MID, BEFORE_EVALUATION = "cut-mid-epoch", "cut-before-evaluation"


@dataclass
class Book:
    """Makes evidence on demand and remembers it.

    Parameters
    ----------
    factory : callable
        Returns a new, unopened system in this process.
    spec : SystemSpec
        The same system, for a fresh process.
    config : mapping
        Configuration tree of the gate.
    folder : pathlib.Path
        For checkpoints and altered copies of data.
    scenarios : mapping
        Name to function of the book.
    overlap : bool, default False
        Start the fresh process as soon as there is a checkpoint for it, so that it works
        beside this one.
    start : callable, default start_fresh
        Makes calls in another process.
    cuts : bool, default True
        Whether the fresh process also resumes from within an epoch.
    """

    factory: Callable[[], System]
    spec: SystemSpec
    config: Tree
    folder: Path
    scenarios: Mapping[str, Callable[["Book"], Any]]
    overlap: bool = False
    start: Callable[..., Pending] = start_fresh
    cuts: bool = True
    _kept: dict[str, Any] = field(default_factory=dict)
    _failed: dict[str, Exception] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """Return a scenario's evidence, making it on first use.

        Raises
        ------
        KeyError
            If there is no such scenario.
        """
        if name in self._failed:
            raise self._failed[name].with_traceback(None)
        if name not in self._kept:
            if name not in self.scenarios:
                msg = f"no scenario {name!r}, expected one of {', '.join(self.scenarios)}"
                raise KeyError(msg)
            try:
                self._kept[name] = self.scenarios[name](self)
            except Exception as error:
                self._failed[name] = error
                raise
        return self._kept[name]

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
        if "trained" in self._failed:
            raise self._failed["trained"].with_traceback(None)
        if "trained" not in self._kept:
            try:
                _require_training(self)
                self._kept["trained"] = _train(self)
            except Exception as error:
                self._failed["trained"] = error  # every later promise has this same cause
                raise
            if self.overlap:
                self.start_fresh()
        return self._kept["trained"]  # type: ignore[no-any-return]

    def start_fresh(self) -> Pending:
        """Start, once, a process that resumes from ``cut`` and evaluates ``end``."""
        if "fresh" not in self._kept:
            trained = self.trained
            if "fresh" not in self._kept:  # `trained` may have started it
                self._kept["fresh"] = _start_fresh(self, trained)
        return self._kept["fresh"]  # type: ignore[no-any-return]

    def cut(self, name: str) -> Cut:
        """Return where a run was cut for the fresh process."""
        self.start_fresh()
        return self._kept[name]  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the fresh process if it still runs, and close the trained system."""
        if "fresh" in self._kept:
            self._kept["fresh"].close()
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


def evaluation_from_json(data: Mapping[str, Any]) -> Evaluation:
    """Rebuild an evaluation that another process returned."""
    values = dict(data)
    for name in ("archs", "per_arch_epe"):
        values[name] = tuple(values[name])
    values["per_sample"] = {arch: tuple(epe) for arch, epe in values["per_sample"].items()}
    return Evaluation(**values)


def _train(book: Book) -> Trained:
    system = book.open()
    (book.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    start, cut, end = (str(book.folder / "checkpoints" / n) for n in ("start", "cut", "end"))
    start_state = state_digests(system.state())
    system.save(start)
    first = system.train(1)
    cut_state = state_digests(system.state())
    system.save(cut)
    second = system.train(2)
    end_state = state_digests(system.state())
    system.save(end)
    return Trained(system, start, cut, end, first, second, start_state, cut_state, end_state)


def _start_fresh(book: Book, trained: Trained) -> Pending:
    calls: list[Call] = [
        *resumed(trained.cut),
        ("restore", {"path": trained.end}),
        ("evaluate", {}),
    ]
    if book.cuts and "steps" in trained.system.describe().supports:
        for cut in (_cut_mid(book), _cut_before_evaluation(book)):
            book._kept[cut.name] = cut
            calls += [("open", {}), *resumed(cut.path)]
    return book.start(book.spec, book.config, calls, book.folder / "fresh")


def resumed(path: str) -> list[Call]:
    """Return the calls that resume from a checkpoint, with the state there and at the end."""
    return [
        ("restore", {"path": path}), ("state", {}), ("train", {"epochs": 2}), ("state", {}),
    ]  # fmt: skip


def _cut_mid(book: Book) -> Cut:
    trained, system = book.trained, book.trained.system
    system.restore(trained.cut)
    system.train(2, steps=1)
    return _saved_cut(book, MID, "cut after step 1 of epoch 2")


def _cut_before_evaluation(book: Book) -> Cut:
    trained, system = book.trained, book.trained.system
    system.restore(trained.start)
    system.train(1, steps=len(trained.first.steps))
    return _saved_cut(book, BEFORE_EVALUATION, "cut after the last batch of epoch 1")


def _saved_cut(book: Book, name: str, how: str) -> Cut:
    system, path = book.trained.system, str(book.folder / "checkpoints" / name)
    system.save(path)
    cut = Cut(name, how, path, state_digests(system.state()))
    system.restore(book.trained.end)
    return cut
