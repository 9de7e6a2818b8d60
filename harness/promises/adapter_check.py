"""Each call of an adapter, made once as a gate would make it: before any promise is asked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import Config, ConfigError
from harness.errors import InputError, plain_line
from harness.promises import adapter_batches as batches
from harness.promises import adapter_figures as figures
from harness.promises import adapter_findings as findings
from harness.promises.adapter_calls import Asking, Called, Seen
from harness.promises.adapter_findings import Finding
from harness.promises.setting import fit_to_system
from harness.systems.process import Worker
from harness.systems.protocol import (
    Arrays,
    Description,
    Drawn,
    Role,
    ServedBatch,
)
from harness.systems.remote import RemoteSystem, Workers
from harness.systems.spec import SystemSpec
from harness.wording import counted

__all__ = ["ORDER", "check_adapter"]

ORDER = (
    "state", "batches", "evaluate", "predict", "score", "draws", "recalibrate", "train", "save",
    "restore", "evaluate_offline", "training_samples",
)  # fmt: skip
"""Every call of the protocol that an open system is asked for, in the order in which each needs
those before it; what takes the samples of an epoch comes last."""

_GIVEN = {
    "predict": ("batches",), "score": ("predict", "batches"), "save": ("restore",),
    "restore": ("save",), "evaluate_offline": ("save",),
}  # fmt: skip
"""What a call cannot be made without."""

_WHY = {
    "predict": "it is given what batches() serves", "score": "it is given what predict() returns",
    "save": "its checkpoint is restored", "restore": "it is given what save() writes",
    "evaluate_offline": "it is given what save() writes",
}  # fmt: skip

_WITH = {"score": "predict", "restore": "save"}
"""Calls that are made by what asks for another one."""


def check_adapter(
    spec: SystemSpec, workers: Workers, config: Config, folder: Path,
    on_result: Callable[[Called], None] = lambda _: None,
) -> Seen:  # fmt: skip
    """Make each call that an adapter offers, once.

    Parameters
    ----------
    config : Config
        The gate's, before it is fitted to the system.
    folder : pathlib.Path
        For a checkpoint.
    on_result : callable, optional
        Gets each call as soon as it was made.
    """
    asking = Asking(on_result)

    def start() -> Worker:
        asking.worker = workers.of(spec)
        return asking.worker

    worker = asking.call("start and import", start)
    if worker is None:
        return asking.seen
    # The process that was started: a later one would know nothing of its systems.
    calls = _Calls(
        asking, config, folder, RemoteSystem(lambda: worker), RemoteSystem(lambda: worker)
    )
    calls.describe()
    if asking.seen.about is not None:
        calls.every()
    return asking.seen


@dataclass
class _Calls:
    """The calls of two systems of one process, in the order in which each needs those before it."""

    asking: Asking
    config: Config
    folder: Path
    system: RemoteSystem
    second: RemoteSystem
    tree: dict[str, Any] = field(default_factory=dict)
    begun: Arrays = field(default_factory=dict)
    served: dict[str, tuple[ServedBatch, ...]] = field(default_factory=dict)

    @property
    def about(self) -> Description:
        assert self.asking.seen.about is not None
        return self.asking.seen.about

    def can(self, *names: str) -> bool:
        return self.about.can.issuperset(names)

    def describe(self) -> None:
        """Ask what it is, before it is opened; and which methods it has."""
        methods = self.asking.call("the class, made", lambda: self.system.ask("__dir__"))
        if methods is None:
            return
        self.asking.seen.about = self.asking.call(
            "describe()", self.system.describe,
            lambda about: f"{about.name}; {counted(len(about.can), 'call')} in can",
            lambda about: (*findings.described(about, methods), *self._fit(about)),
        )  # fmt: skip

    def _fit(self, about: Description) -> Iterator[Finding]:
        """Fit the configuration to what the system cannot vary; yield why it cannot be."""
        config = self.config
        try:
            config = fit_to_system(self.config, about)
        except (ConfigError, InputError, KeyError, ValueError) as error:
            text = f"settings cannot be those of a configuration: {plain_line(str(error))}"
            yield Finding(text, "name keys of the configuration, with a value that each may have")
        self.tree = config.model_dump(mode="json", by_alias=True)

    def every(self) -> None:
        """Make the other calls."""
        if not self.asking.done("open(config)", partial(self.system.open, self.tree)):
            self.asking.leave_out("open() failed")
        before = self.about
        after = self.asking.call(
            "describe(), opened", self.system.describe, None, partial(findings.as_before, before)
        )
        self.asking.seen.about = after or before
        for name in ORDER:
            self.offered(name)
        for name, one in (("close()", self.system), ("close(), of the second", self.second)):
            self.asking.done(name, one.close)

    def offered(self, name: str) -> None:
        """Make a call if it is offered, with those that it goes with, or say why it is not made."""
        if not self.can(name):
            return
        lacking = [other for other in _GIVEN.get(name, ()) if not self.can(other)]
        if lacking:
            why = f"{_WHY[name]}, and {lacking[0]} is not in can"
            self.asking.note(Called(f"{name}()", "not tried", figures=why))
        elif name not in _WITH:
            getattr(self, name)()

    def state(self) -> None:
        found = self.asking.call(
            "state()", self.system.state, figures.arrays, partial(findings.stated, self.about)
        )
        self.begun = found or {}
        name = next((n for n, a in self.begun.items() if a.dtype.kind == "f" and a.size), None)
        if name is None:
            return
        value = np.array(self.begun[name]) + np.ones((), self.begun[name].dtype)

        def ask() -> Arrays:
            self.system.state({name: value})
            after = self.system.state()
            self.system.state({name: np.array(self.begun[name])})
            return after

        self.asking.call(
            "state(changes)", ask, lambda _: f"{name} assigned, read and set back",
            lambda after: findings.assigned(self.begun, name, value, after),
        )  # fmt: skip

    def batches(self) -> None:
        roles: tuple[Role, ...] = ("train", "eval", "recal")
        for role in roles[: 2 + self.can("recalibrate")]:
            found = self.asking.call(
                f"batches({role!r})", partial(self.system.batches, role), figures.served,
                partial(batches.served, config=self.tree, about=self.about, role=role),
            )  # fmt: skip
            self.served[role] = tuple(found or ())
        first = self.served["train"]
        if first:
            self.asking.call(
                "batches('train', epoch=2)",
                lambda: [self.system.batches("train"), self.system.batches("train", epoch=2)],
                lambda found: f"{figures.served(found[1])}; epoch 1 again",
                lambda found: batches.draws_anew([first, *found], self.tree, self.about),
            )  # fmt: skip

    def evaluate(self) -> None:
        found = self.asking.seen.evaluation = self.asking.call(
            "evaluate()", self.system.evaluate,
            lambda e: f"{counted(len(e.archs), 'arch')}, mean EPE {e.mean_epe:.4g} px "
            f"(zero flow {e.zero_flow_epe:.4g})",
            batches.evaluated,
        )  # fmt: skip
        if found is None or not found.archs:
            return
        asked = list(found.archs[:1])
        fixed = "eval.eval_batches_per_arch" in self.about.settings
        how = {} if fixed else {"batches_per_arch": 1}
        self.asking.call(
            f"evaluate([{asked[0]!r}]{', 1' * (not fixed)})",
            lambda: self.system.evaluate(asked, **how),
            lambda e: f"mean EPE {e.mean_epe:.4g} px",
            partial(batches.asked_for, whole=found, asked=asked),
        )  # fmt: skip

    def predict(self) -> None:
        batch = next(iter(self.served.get("eval", ())), None)
        scores = self.asking.seen.evaluation
        if batch is None or scores is None or not scores.archs:
            self.asking.note(
                Called("predict()", "not tried", figures="batches('eval') or evaluate() failed")
            )
            return
        arch, size = scores.archs[0], len(batch.ids)
        outputs = self.asking.call(
            f"predict({arch!r}, batch)", partial(self.system.predict, arch, batch),
            lambda found: ", ".join(f"{o.shape}" for o in found),
            partial(findings.predicted, shape=batch.frames.shape),
        )  # fmt: skip
        if outputs and self.can("score"):
            self.asking.call(
                "score(outputs, flow, valid)",
                partial(self.system.score, outputs, batch.flow, batch.valid),
                lambda found: f"mean {float(np.mean(found)) if len(found) else 0.0:.4g} px",
                partial(findings.scored, samples=size),
            )  # fmt: skip

    def draws(self) -> None:
        seed = int(self.tree["runtime"]["seed"])
        kinds: tuple[Drawn, ...] = ("order", "windows", "archs", "kernels")
        for what in kinds:
            self.asking.call(
                f"draws({what!r}, seed)", partial(self._drawn, what, (seed, seed, seed + 1)),
                lambda found: figures.arrays(found[0]), partial(batches.drawn, what),
            )  # fmt: skip

    def _drawn(self, what: Drawn, seeds: Sequence[int]) -> list[Arrays]:
        return [self.system.draws(what, seed) for seed in seeds]

    def recalibrate(self) -> None:
        scores = self.asking.seen.evaluation
        if scores is None or not scores.archs:
            self.asking.note(Called("recalibrate()", "not tried", figures="evaluate() failed"))
            return
        self.asking.call(
            f"recalibrate({scores.archs[0]!r})",
            partial(self.system.recalibrate, scores.archs[0], inputs=True),
            lambda found: f"{counted(len(found.stats), 'unit')}, inputs of {len(found.inputs)}",
            findings.recalibrated,
        )  # fmt: skip

    def train(self) -> None:
        plan = [batch.digest for batch in self.served.get("train", ())]
        run = self.asking.seen.training = self.asking.call(
            "train(1)", partial(self.system.train, 1), figures.steps,
            partial(batches.trained, plan=plan or None),
        )  # fmt: skip
        if run is not None and self.begun:
            self.asking.call(
                "state(), trained", self.system.state, partial(figures.changed, self.begun),
                partial(findings.moved, self.begun),
            )  # fmt: skip
        if run is not None and run.steps and "steps" in self.about.supports:
            self.asking.call(
                "train(2, steps=1)", partial(self.system.train, 2, evaluate=False, steps=1),
                figures.steps, batches.steps_told,
            )  # fmt: skip

    def save(self) -> None:
        place = self.folder / "checkpoint"
        if not self.asking.done("save(path)", partial(self.system.save, str(place))):
            return
        if not self.asking.done("open(config), a second", partial(self.second.open, self.tree)):
            return
        saved: Arrays = {}
        if self.can("state"):
            found = self.asking.call(
                "state() of both", lambda: [self.system.state(), self.second.state()],
                lambda found: figures.arrays(found[0]),
                lambda found: findings.opened_alike(self.begun, found[1]),
            )  # fmt: skip
            saved = {} if found is None else found[0]
        files = [path for path in place.rglob("*") if path.is_file()]
        self.asking.call(
            "restore(path)", lambda: (self.second.restore(str(place)), files)[1],
            lambda files: counted(len(files), "file"), partial(findings.saved, place),
        )  # fmt: skip
        if saved:
            self.asking.call(
                "state(), restored", self.second.state, figures.arrays,
                partial(findings.brought_back, saved),
            )  # fmt: skip

    def evaluate_offline(self) -> None:
        place = self.folder / "checkpoint"
        if not place.is_dir() and not self.asking.done(
            "save(path)", partial(self.system.save, str(place))
        ):
            return
        self.asking.call(
            "evaluate_offline(path)", partial(self.system.evaluate_offline, str(place)),
            lambda e: f"{counted(len(e.archs), 'arch')}, mean EPE {e.mean_epe:.4g} px",
            batches.evaluated,
        )  # fmt: skip

    def training_samples(self) -> None:
        if not self.about.augmentation:
            why = "asked where describe()['augmentation'] is true"
            self.asking.note(Called("training_samples()", "not tried", figures=why))
            return
        self.asking.call(
            "training_samples()", self.system.training_samples,
            lambda found: f"{counted(len(found), 'sample')}, {figures.sides(found)} px",
            batches.augmented,
        )  # fmt: skip
