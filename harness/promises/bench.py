"""The bench that a system is driven on: each driver drives it once, and its evidence is kept.

Drivers share one trained system, because training it is what a gate spends its time on.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from harness.errors import NotApplicableError
from harness.promises.settable import Tree, changed, require_settable, stands_for
from harness.promises.states import END, Loan, State, Trained, train_two_epochs
from harness.systems.beside import Beside, Job, SecondProcess
from harness.systems.process import WorkerError
from harness.systems.protocol import Description, System
from harness.systems.spec import SystemSpec

__all__ = ["Bench", "Tree", "changed", "require_settable", "stands_for"]

_Evidence = TypeVar("_Evidence")


@dataclass
class Bench:
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
    early : sequence of callable
        Drivers that are asked as soon as there is a trained system: they let a second process
        work beside this one.
    process : SecondProcess, optional
        The second process, where it is kept for other benches. Default: one of its own.
    asked : mapping or None
        Configuration tree that was asked for, before anything in it was shrunk for a gate. None:
        that of the gate.
    vary : callable or None
        Makes the bench of the other setting from this one. None: there is no other.
    parks : bool, default False
        Whether the trained system is closed whenever nobody has it. Of a system that compiles
        for each that is open at once, another bench may then use what this one compiled.
    setting : str, default ""
        What distinguishes the setting from the gate's own, in words.
    """

    factory: Callable[[], System]
    spec: SystemSpec
    config: Tree
    folder: Path
    early: Sequence[Callable[["Bench"], Any]] = ()
    process: SecondProcess | None = None
    asked: Tree | None = None
    vary: Callable[["Bench"], "Bench | None"] | None = None
    parks: bool = False
    setting: str = ""
    _kept: dict[Hashable, Any] = field(default_factory=dict)
    _failed: dict[Hashable, Exception] = field(default_factory=dict)
    _shared: System | None = None
    _as_opened: dict[str, Any] = field(default_factory=dict)
    _lent: bool = False

    def evidence(self, driver: Callable[["Bench"], _Evidence]) -> _Evidence:
        """Return what a driver gives, driving the system on first use alone.

        What it raised then is raised again: several promises may share it.
        """
        if driver in self.early and "trained" not in self._kept:
            # Which begins it: begun here, it would be made once more within itself.
            with suppress(Exception):  # kept, and raised again below
                _ = self.trained
        found: _Evidence = self._once(driver, lambda: driver(self))
        return found

    def made(self, driver: Callable[["Bench"], _Evidence]) -> _Evidence | None:
        """Return what a driver gave, if it was asked already; the system is not driven for it."""
        found: _Evidence | None = self._kept.get(driver)
        return found

    def _once(self, name: Hashable, make: Callable[[], Any]) -> Any:
        """Return what `make` returned, or raise what it raised, when it was first asked."""
        if name in self._failed:  # every later promise has this same cause
            # Raised again as it is, an exception would collect the
            # traceback of every promise that asks.
            raise self._failed[name].with_traceback(None)
        if name not in self._kept:
            try:
                self._kept[name] = make()
            # An interrupt is no evidence and is not kept.
            except Exception as error:
                self._failed[name] = error
                raise
        return self._kept[name]

    @contextmanager
    def open(self, **sections: Tree) -> Iterator[System]:
        """Lend a new system, opened on the gate's configuration with changed keys.

        Raises
        ------
        NotApplicableError
            If it is asked for another value of a key than the only one that it has.
        """
        require_settable(self.config, self.describe().settings, self._changes(sections))
        system = self.factory()
        system.open(changed(self.config, **sections))
        loan = Loan(system)
        try:
            yield cast("System", loan)
        finally:
            loan.end()
            system.close()

    def _changes(self, sections: Mapping[str, Tree]) -> dict[str, Tree]:
        """Return of sections what is not configured so already."""
        return {
            name: {k: v for k, v in values.items() if self.config.get(name, {}).get(k, ...) != v}
            for name, values in sections.items()
        }

    def open_cheaply(self, evaluation: Tree, **sections: Tree) -> AbstractContextManager[System]:
        """Open with fewer evaluation batches, as far as the system can vary them."""
        asked = self.settable("eval", evaluation)
        return self.open(**{**sections, "eval": {**asked, **sections.get("eval", {})}})

    def settable(self, section: str, values: Tree) -> dict[str, Any]:
        """Return of wanted values of a section those that the system can vary.

        For keys that may as well stay as the system has them.
        """
        fixed = self.describe().settings
        return {key: value for key, value in values.items() if f"{section}.{key}" not in fixed}

    @contextmanager
    def at(self, state: State) -> Iterator[System]:
        """Lend the trained system, in a named state, whatever was done with it before.

        A promise may do with it what it likes: nobody sees the state that it leaves.

        Raises
        ------
        NotApplicableError
            If the system does not offer what is needed to train, cut and resume it.
        RuntimeError
            If it is lent already: the two would change each other's state.
        """
        path = self.trained.paths[state]
        with self._lend(lambda shared: shared.restore(path)) as system:
            yield system
        self._park()

    @contextmanager
    def scored(self) -> Iterator[System]:
        """Lend the system whose scores are looked at: trained, or else as it was opened."""
        if self.trainable:
            with self.at(END) as system:
                yield system
            return
        self._once("opened", self._open_shared)
        with self._lend(self._bring_as_opened) as system:
            yield system

    @contextmanager
    def in_any_state(self) -> Iterator[System]:
        """Lend a system of which the state does not matter: no training is made for it."""
        there = "trained" in self._kept or "opened" in self._kept
        with self.scored() if there else self.open() as system:
            yield system

    def _open_shared(self) -> None:
        self._shared = self.factory()
        self._shared.open(self.config)
        if "state" in self.describe().can:
            # copies: a system may hand out the arrays that it goes on to change
            self._as_opened = {n: np.array(a) for n, a in self._shared.state().items()}

    def _bring_as_opened(self, shared: System) -> None:
        if self._as_opened:
            shared.state(self._as_opened)
        else:
            shared.describe()  # whether it is still there

    @contextmanager
    def _lend(self, bring: Callable[[System], object]) -> Iterator[System]:
        """Lend the shared system once it was brought to a state; to one promise at a time."""
        if self._shared is None:
            self._shared = self.factory()
            self._shared.open(self.config)
        if self._lent:
            msg = "the system is lent already: ask for other evidence before it is borrowed"
            raise RuntimeError(msg)
        self._lent = True
        try:
            loan = Loan(self._brought(self._shared, bring))
            try:
                yield cast("System", loan)
            finally:
                loan.end()
        finally:
            self._lent = False

    def _park(self) -> None:
        """Close the shared system of a bench that parks it: the next one to ask opens a new one."""
        if self.parks and self._shared is not None and "trained" in self._kept:
            self._shared.close()
            self._shared = None

    def _brought(self, shared: System, bring: Callable[[System], object]) -> System:
        try:
            bring(shared)
        except WorkerError:  # another promise made its process crash, and is told of it
            shared = self._shared = self.factory()
            shared.open(self.config)
            bring(shared)
        return shared

    def describe(self) -> Description:
        """Return the system's description without opening it; it is asked once."""
        description: Description = self._once("description", lambda: self.factory().describe())
        return description

    @property
    def trainable(self) -> bool:
        """Whether the system offers the calls that :attr:`trained` makes."""
        return self.describe().can.issuperset(_TRAINING)

    @property
    def trained(self) -> Trained:
        """What the shared system did in two epochs of training.

        Raises
        ------
        NotApplicableError
            If the system does not offer what is needed to train, cut and resume it.
        """
        # The early drivers ask for this themselves: without it they would start one another again.
        if "trained" in self._kept:
            found: Trained = self._kept["trained"]
            return found
        trained: Trained = self._once("trained", self._train)
        for driver in self.early:
            with suppress(Exception):  # kept, and raised for whoever asks for it
                self.evidence(driver)
        return trained

    def _train(self) -> Trained:
        _require_training(self)
        self._shared = self.factory()
        return train_two_epochs(self._shared, self.config, self.folder / "checkpoints")

    @property
    def varied(self) -> "Bench | None":
        """The same system under another setting; None where it is judged under one alone."""
        if (vary := self.vary) is None:
            return None
        found: Bench | None = self._once("varied", lambda: vary(self))
        return found

    def second_process(self) -> SecondProcess:
        """Return the process that :meth:`beside` uses, for another bench of this system."""
        second: Beside = self._once("second", self._second)
        return second.process

    def beside(self, job: Job[_Evidence]) -> "Future[_Evidence]":
        """Let the second process of the system do a job; it works while this one goes on."""
        second: Beside = self._once("second", self._second)
        return second.submit(job)

    def _second(self) -> Beside:
        return Beside(self.spec, self.config, self.process)

    def close(self) -> None:
        """End the second process if it still runs, and close the shared system."""
        if self._kept.get("varied") is not None:
            self._kept["varied"].close()
        if "second" in self._kept:
            self._kept["second"].close()
        if self._shared is not None:
            self._shared.close()


_TRAINING = ("train", "state", "save", "restore")


def _require_training(bench: Bench) -> None:
    absent = [call for call in _TRAINING if call not in bench.describe().can]
    if absent:
        msg = f"the system does not offer {', '.join(absent)}"
        raise NotApplicableError(msg)
