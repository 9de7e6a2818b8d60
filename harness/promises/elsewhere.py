"""A run depends on its seed, and not on its place."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.archs import Space
from harness.digest import state_digests
from harness.promises.arch_codes import NINE_BLOCKS, Blocks, cycle_orders, is_code, space_of
from harness.promises.bench import Bench
from harness.promises.candidates import order_instead
from harness.promises.promise import (
    COINCIDENCE,
    Digests,
    Outcome,
    Promise,
    Violation,
    grouped_differences,
    needs,
    outcome,
)
from harness.promises.same_scores import pool_differences
from harness.promises.samples import listed_samples, split_folder
from harness.promises.sampling import shuffles
from harness.promises.scores import base_evaluation
from harness.promises.setting import link_samples
from harness.systems.protocol import PRETRAINED, Evaluation, System, Training, digests_of
from harness.wording import counted

__all__ = [
    "SAME_RUN_ELSEWHERE", "SEEDS_MATTER", "Elsewhere", "Seeds", "elsewhere",
    "place_does_not_matter", "seeds", "seeds_matter",
]  # fmt: skip


@dataclass(frozen=True)
class Elsewhere:
    """The same run on a copy of the data: another path, files made in reverse, another name.

    Attributes
    ----------
    here, there : mapping of str to str
        Digests of weights and statistics after training.
    scores_here, scores_there : Evaluation
    draws_here, draws_there : sequence of str
        Batch digests of the training steps.
    """

    here: Digests
    there: Digests
    scores_here: Evaluation
    scores_there: Evaluation
    draws_here: Sequence[str]
    draws_there: Sequence[str]


@needs("train", "evaluate", "state", "save", "restore")
def elsewhere(bench: Bench) -> Elsewhere:
    """Train again on a copy of the data elsewhere, under another run name."""
    trained, copy = bench.trained, bench.folder / "else where" / "déjà"
    for split in ("train", "val"):
        source = split_folder(bench, split)
        link_samples(source, reversed(listed_samples(source)), copy / split)
    with bench.open(
        data={"base_path": str(copy), "train_dir": "train", "val_dir": "val"},
        runtime={"experiment_name": "another", "output_root": str(bench.folder / "out")},
    ) as system:
        run = system.train(2)
        weights = {n: d for n, d in digests_of(system).items() if "progress/" not in n}
        # Scored as the bench scores, right after a restore: what an evaluation keeps from the one
        # before would else make this place look like another.
        end = str(bench.folder / "trained-elsewhere")
        system.save(end)
        system.restore(end)
        scores = system.evaluate()
    here = {n: d for n, d in trained.end_state.items() if "progress/" not in n}
    steps = (*trained.first.steps, *trained.second.steps)
    return Elsewhere(
        here, weights, base_evaluation(bench), scores, [s.batch for s in steps],
        [s.batch for s in run.steps],
    )  # fmt: skip


def place_does_not_matter(evidence: Elsewhere) -> Outcome:
    """Require the same weights, draws and scores from a copy of the data elsewhere."""
    violations = grouped_differences(evidence.here, evidence.there, what="trained elsewhere:")
    if list(evidence.draws_here) != list(evidence.draws_there):
        what = f"others{order_instead(evidence.draws_here, evidence.draws_there)}"
        # First: from other batches other weights follow.
        violations.insert(0, Violation("training batches elsewhere", "the same", what))
    violations += pool_differences(evidence.scores_here, evidence.scores_there, "trained elsewhere")
    figures = (
        f"{counted(len(evidence.here), 'array')}, "
        f"{counted(len(evidence.draws_here), 'batch')} and the scores equal "
        "on a copy in another folder, made in reverse order, under another run name"
    )
    looked_at = min(len(evidence.here), len(evidence.draws_here), len(evidence.scores_here.archs))
    nothing = "no array, no training step (Training.steps) or no score to compare"
    return outcome(violations[:6], looked_at, figures, without=nothing)


SAME_RUN_ELSEWHERE = Promise(
    id="same-run-elsewhere",
    sentence="a run does not depend on paths, file order or its name",
    evidence=elsewhere,
    check=place_does_not_matter,
    hint="Something sorts by path or listing order, or reads the run's name.",
    blocked_by=("same-scores-again",),
    explained_by=("seeds-matter", "train-draws-declared:draws"),
)


@dataclass(frozen=True)
class Seeds:
    """Initial state and fair cycles of one seed twice, and of another seed.

    ``space`` has the number of options of each block of the arch codes, and ``orders`` digests of
    the samples that are drawn of one seed in epoch 1 and in epoch 2, and of the other seed in
    epoch 1; empty where that is not said, or samples are taken in order by design.
    """

    one: Digests
    again: Digests
    other: Digests
    kernels: Sequence[str]
    cycles: Sequence[tuple[str, ...]]
    other_cycles: Sequence[tuple[str, ...]]
    space: Blocks = NINE_BLOCKS
    orders: tuple[Sequence[str], ...] = ()


@needs("train", "state")
def seeds(bench: Bench) -> Seeds:
    """Open one seed twice, and another seed in between, which is trained."""
    seed, states = bench.config["runtime"]["seed"], []
    with bench.open(runtime={"seed": seed}) as system:
        states.append(_copied(system))
    with bench.open(runtime={"seed": seed + 1}) as system:
        after = _copied(system)
        run = system.train(1, evaluate=False)
    # Behind another run: what a session leaves behind is where the next one would begin.
    with bench.open(runtime={"seed": seed}) as system:
        states += _copied(system), after
    about = bench.trained.description
    # Constants, weights of a file and what counts start alike under each seed.
    alike = about.initializer == PRETRAINED
    kernels = [
        name
        for name, array in states[0].items()
        if np.asarray(array).ndim == 4
        and not (alike or about.is_frozen(name) or name.startswith("progress/"))
    ]
    # Adam's moments have a kernel's shape too, and start at zero whatever the seed.
    moments = [name for name in kernels if not np.asarray(states[0][name]).any()]
    one, again, other = (state_digests(state) for state in states)
    return Seeds(
        one, again, other, [name for name in kernels if name not in moments],
        [s.archs for s in bench.trained.first.steps], [s.archs for s in run.steps],
        space_of(about), _orders(bench, run),
    )  # fmt: skip


def _copied(system: System) -> dict[str, np.ndarray]:
    """Return the state, which the system may go on to change in place."""
    return {name: np.array(array) for name, array in system.state().items()}


def _orders(bench: Bench, other: Training) -> tuple[Sequence[str], ...]:
    """Return the samples of an epoch in order: of one seed, of its second epoch, of another."""
    fixed, key = bench.trained.description.settings, "train.train_sampling_mode"
    if not shuffles({"train_sampling_mode": fixed.get(key)}):
        return ()
    runs = bench.trained.first, bench.trained.second, other
    return tuple([digest for step in run.samples for digest in step] for run in runs)


def _orders_drawn(orders: Sequence[Sequence[str]]) -> Iterator[Violation]:
    """Yield where samples come in the same order that must come in another."""
    first, *others = orders or [()]
    # Of samples that are augmented no digest comes twice, and chance repeats an order of few.
    if math.factorial(min(len(set(first)), 20)) < COINCIDENCE:
        return
    for name, order in zip(("in epoch 2", "with another seed"), others, strict=True):
        if list(order) == list(first):
            what = "the same, sample by sample, as under the configured seed in epoch 1"
            yield Violation(f"order of the samples {name}", "another", what)


def seeds_matter(evidence: Seeds) -> Outcome:
    """Require one seed to give one start, and another seed another."""
    violations = grouped_differences(evidence.one, evidence.again, what="opened again:")
    violations += [
        Violation(f"{name} with another seed", "another initial value",
                  "the same" if name in evidence.other else "absent")
        for name in evidence.kernels
        if evidence.other.get(name, evidence.one[name]) == evidence.one[name]
    ]  # fmt: skip
    cycles, others = list(evidence.cycles), list(evidence.other_cycles)
    if len(cycles) != len(others):
        violations.append(
            Violation("fair cycles with another seed", f"{len(cycles)}", f"{len(others)}")
        )
    space = evidence.space
    codes = [cycle for cycle in cycles if cycle and all(is_code(arch, space) for arch in cycle)]
    if isinstance(space, Space) and space.sampling != "fair":
        codes = []  # by a rule of the system's own, which may draw nothing
    # A fair cycle draws, for each block, an order of its options; none is drawn of nets by name.
    orders = cycle_orders(space) ** len(codes)
    if orders >= COINCIDENCE and cycles == others:
        violations.append(Violation("fair cycles with another seed", "others", "the same"))
    violations += _orders_drawn(evidence.orders)
    kernels = counted(len(evidence.kernels), "kernel")
    figures = f"{kernels} and {counted(len(codes), 'fair cycle')} differ"
    # Of weights that are read from a file the order of samples is what a seed changes.
    looked_at = min(len(evidence.kernels) or len(evidence.orders), len(evidence.cycles))
    nothing = "no kernel of four axes, or no training step (Training.steps)"
    return outcome(violations[:6], looked_at, figures, without=nothing)


SEEDS_MATTER = Promise(
    id="seeds-matter",
    sentence="a seed repeats its start, and another seed changes it",
    evidence=seeds,
    check=seeds_matter,
    hint=(
        "The seed does not reach the initial weights, the fair cycles or the order of samples: a "
        "shuffle that is left out, or seeded anew in each epoch. Opened again, a system has what a "
        "run before it left in the process. Where samples come in one order "
        'by design, declare settings["train.train_sampling_mode"] as "sequential".'
    ),
)
