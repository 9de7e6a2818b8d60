"""What a system says that it draws is what training draws, step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.archs import Space, digits
from harness.errors import NotApplicableError
from harness.promises.arch_codes import NINE_BLOCKS, require_codes, space_of
from harness.promises.asked_draws import ask, can_shuffle
from harness.promises.bench import Bench
from harness.promises.draws import draws
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.promises.states import START
from harness.records.records import StepRecord
from harness.systems.protocol import Arrays, Drawn, ServedBatch, System
from harness.wording import counted

__all__ = ["DRAWS_AS_TRAINED", "OwnDraws", "own_draws", "training_draws_what_is_said"]

Array = NDArray[np.int64]
_EPOCHS = (1, 2)


@dataclass(frozen=True)
class OwnDraws:
    """What was said of a run's own draws, and what its two epochs of training drew.

    Attributes
    ----------
    said : mapping of str to mapping of int to numpy.ndarray
        Of ``order``, ``windows`` and ``archs``, as far as the system draws them: by epoch.
    again : mapping
        The same, asked again.
    kernels, start : mapping of str to numpy.ndarray
        Kernels as drawn, and the state before training.
    split : tuple of str
        Ids that an order counts from 0.
    steps : tuple of StepRecord
        Of both epochs.
    served : mapping of str to ServedBatch
        By digest: what a step was trained on.
    space : Space
        How the code of an arch is written.
    """

    said: Mapping[Drawn, Mapping[int, Array]]
    again: Mapping[Drawn, Mapping[int, Array]]
    kernels: Arrays
    start: Arrays
    split: Sequence[str]
    steps: Sequence[StepRecord]
    served: Mapping[str, ServedBatch]
    space: Space = field(default_factory=lambda: digits(NINE_BLOCKS))


def _code(space: Space, arch: Sequence[int]) -> str:
    """Return the code of an arch; its numbers one behind the other where it has none."""
    known = len(arch) == len(space.names) and all(
        0 <= option < count for option, count in zip(arch, space.counts, strict=True)
    )
    code = space.write([int(option) for option in arch]) if known else None
    return "".join(map(str, arch)) if code is None else code


def _said(bench: Bench, system: System) -> dict[Drawn, Mapping[int, Array]]:
    """Return what the system says of the run's own draws; what it does not draw is left out."""
    kinds: list[Drawn] = ["archs"]
    if "batches" in bench.describe().can:
        # Of no other system it is known what a step was trained on.
        kinds = ["order", "windows", "archs"] if can_shuffle(bench) else ["windows", "archs"]
    seed, found = bench.config["runtime"]["seed"], dict[Drawn, Mapping[int, Array]]()
    for what in kinds:
        try:
            found[what] = {epoch: ask(system, what, seed, epoch) for epoch in _EPOCHS}
        except NotApplicableError:
            continue
    return found


@needs("draws", "train")
def own_draws(bench: Bench) -> OwnDraws:
    """Ask a run for its own draws before it trains, and hold its two epochs beside them."""
    steps = (*bench.trained.first.steps, *bench.trained.second.steps)
    served, split = dict[str, ServedBatch](), tuple[str, ...]()
    if "batches" in bench.describe().can:
        about = bench.evidence(draws)
        served, split = {b.digest: b for b in (*about.first, *about.second)}, about.split
    kernels: Arrays = {}
    with bench.at(START) as system:
        said, start = _said(bench, system), dict(system.state())
        try:
            kernels = system.draws("kernels", bench.config["runtime"]["seed"])
        except NotApplicableError:
            kernels = {}
        again = _said(bench, system)
    if not said and not kernels:
        msg = "the system draws neither order, windows, archs nor kernels"
        raise NotApplicableError(msg)
    space = space_of(bench.trained.description)
    if "archs" in said:
        require_codes((arch for step in steps for arch in step.archs), space,
                      what="the system trains")  # fmt: skip
    return OwnDraws(said, again, kernels, start, split, steps, served, space)


def _of_step(evidence: OwnDraws, step: StepRecord) -> dict[Drawn, list[object]]:
    """Return what a step trained on, beside its kind; a batch that is not known is left out."""
    found: dict[Drawn, list[object]] = {"archs": list(step.archs)}
    batch = evidence.served.get(step.batch)
    if batch is not None:
        found["order"] = list(batch.ids)
        found["windows"] = [tuple(window[:2]) for window in batch.windows]
    return found


def _said_of_step(
    evidence: OwnDraws, what: Drawn, step: StepRecord, first: int, size: int
) -> list[object]:
    array = evidence.said[what][step.epoch]
    if what == "archs":
        archs = array[step.step - 1] if step.step <= len(array) else array[:0]
        return [_code(evidence.space, arch) for arch in archs]
    drawn = array[first : first + size]
    if what == "windows":
        return [tuple(int(side) for side in window) for window in drawn]
    known = range(len(evidence.split))
    return [evidence.split[i] if i in known else f"number {i}" for i in drawn.tolist()]


def _step_differences(evidence: OwnDraws) -> tuple[list[Violation], int]:
    violations, compared, first, epoch = list[Violation](), 0, 0, 0
    for step in evidence.steps:
        first = first if step.epoch == epoch else 0
        epoch, trained = step.epoch, _of_step(evidence, step)
        size = len(trained.get("order", ()))
        for what in evidence.said:
            if what not in trained or epoch not in evidence.said[what]:
                continue
            said, compared = _said_of_step(evidence, what, step, first, size), compared + 1
            if said != trained[what]:
                where = f"{what} of epoch {epoch}, step {step.step}"
                violations.append(Violation(where, f"{said} as drawn", str(trained[what]), "draws"))
        first += size
    return violations, compared


def training_draws_what_is_said(evidence: OwnDraws) -> Outcome:
    """Require training's draws and first kernels to be those that were said, asked twice."""
    violations = [
        Violation(f"{what} of epoch {epoch}, asked again", "the same", "others", "draws")
        for what, by_epoch in evidence.said.items()
        for epoch, array in by_epoch.items()
        if not np.array_equal(array, evidence.again[what][epoch])
    ]
    different, compared = _step_differences(evidence)
    violations += different
    for name, kernel in evidence.kernels.items():
        if name not in evidence.start:
            violations.append(Violation(f"kernel {name}", "one of the state", "none", "kernels"))
        elif not np.array_equal(evidence.start[name], kernel):
            where = f"kernel {name} before training"
            violations.append(Violation(where, "as drawn", "another", "kernels"))
    compared += len(evidence.kernels)
    kinds = ", ".join(evidence.said)
    figures = (
        f"{kinds or 'no draws'} of {counted(len(evidence.steps), 'step')} and "
        f"{counted(len(evidence.kernels), 'kernel')} as said"
    )
    return outcome(violations[:6], compared, figures, without="no step or kernel was compared")


DRAWS_AS_TRAINED = Promise(
    id="draws-as-trained",
    sentence="training draws samples, windows, archs and kernels as the system says",
    evidence=own_draws,
    check=training_draws_what_is_said,
    hint="What is told of draws is not what trains, so that promises of thousands of them say "
    "nothing.",
    explained_by=(
        "train-draws-declared:draws",
        "train-draws-declared:plan",
        "drawn-as-served",
        "seeds-matter",
        "same-run-elsewhere",
    ),
    varied=True,
)
