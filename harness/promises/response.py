"""The metric moves when the model does, and an arch runs exactly its options."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.archs import Space, digits
from harness.errors import NotApplicableError
from harness.promises.arch_codes import (
    covering_codes,
    options_per_block,
    options_run,
    require_codes,
    space_of,
)
from harness.promises.bench import Bench
from harness.promises.metric_shown import response_shown, twins_shown
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.promises.scores import base_evaluation, repeat_again
from harness.promises.slices import Parts, own_parts, parts_of, put
from harness.promises.states import END, START, other_kernel, require_named
from harness.systems.protocol import Evaluation, System
from harness.wording import counted

__all__ = [
    "ARCH_EXECUTED", "METRIC_ALIVE", "ArchResponse", "Response", "arch_response",
    "archs_are_executed", "metric_is_alive", "response",
]  # fmt: skip


@dataclass(frozen=True)
class Response:
    """A pool's scores, and what they become when one output head's kernels change.

    ``lively`` are heads that every score follows at the start of training, looked at where one does
    not follow at its end: units before the head may have died in between.
    """

    base: Evaluation
    changed: Mapping[str, Evaluation]
    again: Evaluation | None = None
    lively: frozenset[str] = frozenset()


@needs("evaluate", "state", "describe", says=("heads",))
def response(bench: Bench) -> Response:
    """Change the kernels of one output head at a time and evaluate."""
    twice = bench.evidence(repeat_again)
    with bench.scored() as system:
        heads = system.describe().heads
        if not heads:
            msg = "the system names no output head (describe().heads)"
            raise NotApplicableError(msg)
        found = {head: _with_others(system, names) for head, names in heads.items()}
    deaf = {head for head, changed in found.items() if _still(twice.first, changed)}
    if not deaf or not bench.trainable:
        return Response(twice.first, found, twice.again)
    with bench.at(START) as system:
        base = system.evaluate()
        lively = {h for h in deaf if not _still(base, _with_others(system, heads[h]))}
    return Response(twice.first, found, twice.again, frozenset(lively))


def _with_others(system: System, names: Sequence[str]) -> Evaluation:
    """Evaluate with other kernels under some names; they are set back."""
    state = system.state()
    require_named(state, names, "describe().heads")
    kept = {name: np.array(state[name]) for name in names}
    system.state(_others(kept))
    found = system.evaluate()
    system.state(kept)
    return found


def _still(base: Evaluation, changed: Evaluation) -> list[str]:
    """Return the archs that score the same, sample by sample."""
    return [a for a in base.archs if base.per_sample[a] == changed.per_sample.get(a)]


def _others(kernels: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {n: other_kernel(array, place) for place, (n, array) in enumerate(kernels.items())}


def metric_is_alive(evidence: Response) -> Outcome:
    """Require the EPE to respond to each output head, and to differ between archs.

    Decided by response and not by level: early in training a live metric may well score
    worse than an all-zero flow, so that level only warns.
    """
    base, violations = evidence.base, []
    if not base.archs:
        return outcome([], 0, "no arch was scored")
    # EdgeFlowNAS (8f83824) scored the same weights 6.739 px, then 7.063 px: there, all responds.
    if evidence.again is not None and evidence.again.per_sample != base.per_sample:
        violations.append(
            Violation("EPE evaluated again, with nothing changed", "the same EPE",
                      "another: a response to the model cannot be told from noise")
        )  # fmt: skip
    warning: tuple[str, ...] = ()
    for head, changed in evidence.changed.items():
        still = _still(base, changed)
        if still and head in evidence.lively:
            warning += (
                f"{head} has no part in {len(still)} of {counted(len(base.archs), 'arch')} after "
                "training, as it had before: the units that it is applied to are 0 everywhere",
            )
        elif still:
            violations.append(
                Violation(f"EPE after changing the kernels of {head}", "another EPE",
                          f"the same for {len(still)} of {counted(len(base.archs), 'arch')}: the "
                          "metric does not see this scale",
                          shown=(response_shown(head, base, changed, still),))
            )  # fmt: skip
    by_score: dict[tuple[tuple[float, ...], ...], list[str]] = {}
    for arch in base.archs:
        # By all samples: two archs may agree in the mean. And with every head changed: those that
        # predict zero flow, because a head starts at zero, score alike and are no twins.
        every = (base, *evidence.changed.values())
        scores = tuple(one.per_sample.get(arch, ()) for one in every)
        by_score.setdefault(scores, []).append(arch)
    violations += [
        Violation(f"EPE of archs {', '.join(twins)}", "different", "equal sample by sample",
                  shown=(twins_shown(base, *twins[:2]),))
        for twins in by_score.values()
        if len(twins) > 1
    ]  # fmt: skip
    spread = max(base.per_arch_epe) - min(base.per_arch_epe)
    if not base.mean_epe < base.zero_flow_epe:
        warning += (
            f"mean EPE {base.mean_epe:.3f} px is not below the {base.zero_flow_epe:.3f} px that "
            "an all-zero flow scores (expected of an untrained net, not of a trained one)",
        )
    figures = (
        f"{counted(len(evidence.changed), 'head moves', 'heads move')} the EPE; {len(by_score)} of "
        f"{counted(len(base.archs), 'arch')} "
        f"distinct, spread {spread:.4f} px"
    )
    return outcome(violations, min(len(evidence.changed), len(base.archs)), figures, warning)


METRIC_ALIVE = Promise(
    id="metric-alive",
    sentence="the EPE responds to every output head and differs between archs",
    evidence=response,
    check=metric_is_alive,
    hint="A metric that does not move when the model moves is dead: fix it before tuning anything.",
    explained_by=("metric-oracle",),
    blocked_by=("same-scores-again",),
    tier="smoke",
)


Place = tuple[int, int]
"""Block and option."""


@dataclass(frozen=True)
class ArchResponse:
    """A pool's scores when the kernels of one option of one block change.

    Attributes
    ----------
    base, again : Evaluation
        Twice, with nothing changed in between.
    changed : mapping of (block, option) to (kernels, Evaluation)
    options : sequence of sequence of tuple of str
        For each block and option, the kernels that it runs.
    space : Space or None
        Of which the archs are codes. None: of a digit for each block of `options`.
    hit : mapping of (block, option) to tuple of str
        Archs that run what was changed of the option's kernels.
    """

    base: Evaluation
    changed: Mapping[Place, tuple[tuple[str, ...], Evaluation]]
    options: Sequence[Sequence[tuple[str, ...]]]
    again: Evaluation | None = None
    space: Space | None = None
    hit: Mapping[Place, tuple[str, ...]] = field(default_factory=dict)


@needs("state", "evaluate", "describe", "train", "save", says=("options",))
def arch_response(bench: Bench) -> ArchResponse:
    """Change the kernels of one option of one block at a time, and score a fair cycle."""
    options, end = bench.trained.description.options, bench.trained.paths[END]
    if not options:
        msg = "the system does not say which kernels an option runs"
        raise NotApplicableError(msg)
    space = space_of(bench.trained.description)
    require_codes(base_evaluation(bench).archs, space, what="the system scores")
    # A fair cycle: each option of each block is run by one of them, which are three mostly.
    archs = _every_option(space)
    few = {"bn_recal_batches": 1, "eval_batches_per_arch": 1, "batch_size": 2}
    with bench.open_cheaply(few) as system:
        system.restore(end)
        base, again = system.evaluate(archs), system.evaluate(archs)
        if again.per_sample != base.per_sample:  # nothing more need be asked
            return ArchResponse(base, {}, options, again, space)
        changed, hit = _responses(system, options, archs, space)
    return ArchResponse(base, changed, options, again, space, hit)


def _every_option(space: Space) -> list[str]:
    """Return a fair cycle: each option of each block is run by one of its archs."""
    if space.codes:
        return list(covering_codes(space))
    shifts = range(max(space.counts))
    choices = ([(b + s) % count for b, count in enumerate(space.counts)] for s in shifts)
    return [code for choice in choices if (code := space.write(choice)) is not None]


def _responses(
    system: System,
    options: Sequence[Sequence[tuple[str, ...]]],
    archs: Sequence[str],
    space: Space,
) -> tuple[dict[Place, tuple[tuple[str, ...], Evaluation]], dict[Place, tuple[str, ...]]]:
    """Return the kernels that were changed and the scores then, and which archs run those."""
    state, found, kept = system.state(), dict[Place, Any](), dict[str, Any]()
    hit = dict[Place, tuple[str, ...]]()
    for block, kernels in enumerate(options):
        runs = [parts_of(names, state) for names in kernels]
        for option, mine in enumerate(runs):
            # Depth options may nest, and slices of a kernel: a deeper one's own are those that no
            # shallower one runs.
            own = own_parts(mine, runs[:option])
            if not own:  # an option may run none: the identity
                continue
            before, kept = kept, {name: np.array(state[name]) for name in own}
            # In one call with what puts the option before it back: a call copies the whole state.
            others = {n: put(kept[n], own[n], other) for n, other in _others(kept).items()}
            system.state({**before, **others})
            found[block, option] = tuple(own), system.evaluate(archs)
            hit[block, option] = tuple(
                arch for arch in archs if _share(own, runs[options_run(arch, space)[block]])
            )
    system.state(kept)
    return found, hit


def _share(one: Parts, other: Parts) -> bool:
    """Return whether two have an element in common."""
    return any(bool((one[name] & other[name]).any()) for name in one.keys() & other.keys())


def archs_are_executed(evidence: ArchResponse) -> Outcome:
    """Require an arch's EPE to depend on exactly the kernels of the options it names.

    Raises
    ------
    NotApplicableError
        If it moves without a change.
    """
    if evidence.again is not None and evidence.again.per_sample != evidence.base.per_sample:
        msg = "the same weights score otherwise when evaluated again"
        raise NotApplicableError(f"{msg}: what an option changes cannot be told from noise")
    violations = _options_not_tried(evidence)
    for (block, option), (kernels, changed) in evidence.changed.items():
        for arch in evidence.base.archs:
            expected = _runs_one(evidence, (block, option), kernels, arch)
            scores = changed.per_sample.get(arch, ())
            moved = scores != evidence.base.per_sample.get(arch, ())
            if not (scores and all(math.isfinite(score) for score in scores)):
                violations.append(
                    Violation(
                        f"EPE of arch {arch} after changing option {option} of block {block}",
                        "a number for each sample", str(scores),
                    )
                )  # fmt: skip
            elif moved != expected:
                violations.append(
                    Violation(
                        f"EPE of arch {arch} after changing option {option} of block {block}",
                        "another" if expected else "the same, it does not run it",
                        "the same: the option is not executed, or the metric does not see it"
                        if expected
                        else "another",
                    )
                )
    seen = len(evidence.changed) * len(evidence.base.archs)
    responses = counted(seen, "response")
    figures = f"{counted(len(evidence.changed), 'option')}, {responses} as the codes say"
    return outcome(violations[:6], seen, figures)


def _choice(evidence: ArchResponse, arch: str) -> tuple[int, ...]:
    return options_run(arch, evidence.space or options_per_block(evidence.options))


def _runs_one(
    evidence: ArchResponse, place: Place, kernels: Sequence[str], arch: str
) -> bool:  # fmt: skip
    """Return whether an arch runs what was changed; without word of it, by the kernels' names."""
    if place in evidence.hit:
        return arch in evidence.hit[place]
    option = _choice(evidence, arch)[place[0]]
    return any(kernel in evidence.options[place[0]][option] for kernel in kernels)


def _options_not_tried(evidence: ArchResponse) -> list[Violation]:
    """Return a violation for each option that was not changed, or that no scored arch runs."""
    if not evidence.changed or not evidence.base.archs:
        return []
    violations = []
    names = (evidence.space or digits(options_per_block(evidence.options))).names
    for block, options in enumerate(evidence.options):
        run = {_choice(evidence, arch)[block] for arch in evidence.base.archs}
        for option in range(len(options)):
            kernels = evidence.changed.get((block, option), ((), None))[0]
            named = evidence.options[block][option]
            if (named and not kernels) or option not in run:
                violations.append(
                    Violation(f"option {option} of block {block}", "changed, and run by an arch",
                              f"archs run {[names[block][o] for o in sorted(run)]}"
                              if kernels else "no kernel changed")
                )  # fmt: skip
    return violations


ARCH_EXECUTED = Promise(
    id="arch-executed",
    sentence="an arch's score depends on exactly the options that it names",
    evidence=arch_response,
    check=archs_are_executed,
    hint="The subnet that runs is not the subnet that was asked for.",
    explained_by=("metric-alive",),
    blocked_by=("same-scores-again",),
)
