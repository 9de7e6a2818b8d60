"""What must stay the same, must change, or must be refused when something is altered."""

import math
import re
from collections.abc import Sequence

from harness.evidence.altering import (
    ArchResponse,
    Elsewhere,
    Frozen,
    Pools,
    Refusals,
    Seeds,
    SweptKnob,
)
from harness.evidence.bundles import Repeat
from harness.evidence.observations import Evaluation
from harness.relations.base import Outcome, Violation, differences, outcome
from harness.relations.evaluation import same_scores

__all__ = [
    "archs_are_executed",
    "bad_input_is_refused",
    "frozen_scores_are_the_files",
    "knobs_are_alive",
    "place_does_not_matter",
    "pool_is_declared",
    "seeds_matter",
]


_COINCIDENCE = 1_000
"""Equal fair cycles are no coincidence from this many equally likely ones on."""


def _same_pool(first: Evaluation, again: Evaluation, how: str) -> list[Violation]:
    """Return how the scores of a whole pool differ; a part of it would be too little."""
    violations = list(same_scores(Repeat(first, again, how)).violations)
    if first.archs != again.archs:
        violations.append(Violation(f"archs scored {how}", str(first.archs), str(again.archs)))
    return violations


def place_does_not_matter(evidence: Elsewhere) -> Outcome:
    """Require the same weights, draws and scores from a copy of the data elsewhere."""
    violations = differences(dict(evidence.here), dict(evidence.there), what="trained elsewhere:")
    if list(evidence.draws_here) != list(evidence.draws_there):
        violations.append(Violation("training batches elsewhere", "the same", "others"))
    violations += _same_pool(evidence.scores_here, evidence.scores_there, "trained elsewhere")
    figures = (
        f"{len(evidence.here)} arrays, {len(evidence.draws_here)} batches and the scores equal "
        "on a copy in another folder, made in reverse order, under another run name"
    )
    return outcome(violations[:6], min(len(evidence.here), len(evidence.draws_here)), figures)


def seeds_matter(evidence: Seeds) -> Outcome:
    """Require one seed to give one start, and another seed another."""
    violations = differences(dict(evidence.one), dict(evidence.again), what="opened again:")
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
    codes = [cycle for cycle in cycles if all(arch.isdigit() for arch in cycle)]
    orders = 6 ** sum(len(cycle[0]) for cycle in codes)  # names of archs are drawn from nothing
    if orders >= _COINCIDENCE and cycles == others:
        violations.append(Violation("fair cycles with another seed", "others", "the same"))
    figures = f"{len(evidence.kernels)} kernels and {len(codes)} fair cycles differ"
    return outcome(violations[:6], min(len(evidence.kernels), len(evidence.cycles)), figures)


def pool_is_declared(evidence: Pools) -> Outcome:
    """Require the six declared archs, then distinct ones that the seed draws."""
    declared = [
        "".join(str(code(i) % 3) for i in range(9))
        for code in (
            lambda _: 0, lambda _: 1, lambda _: 2, lambda i: i, lambda i: 2 - i, lambda i: i + 1,
        )
    ]  # fmt: skip
    violations = []
    for name, pool in (("", evidence.one), (" with another seed", evidence.other)):
        violations += [
            Violation(f"arch {index} of the pool{name}", want, got)
            for index, (want, got) in enumerate(zip(declared, pool, strict=False))
            if want != got
        ]
        if len(pool) != 9 or len(set(pool)) != len(pool):
            distinct = f"{len(pool)}, {len(set(pool))} of them distinct"
            violations.append(Violation(f"archs of the pool{name}", "9 distinct", distinct))
    if list(evidence.one) != list(evidence.again):
        violations.append(Violation("pool asked for again", "the same archs", "others"))
    drawn, other = list(evidence.one)[6:], list(evidence.other)[6:]
    if drawn == other:
        violations.append(Violation("drawn archs with another seed", f"not {drawn}", str(other)))
    figures = f"6 declared and {len(drawn)} drawn archs, others with another seed"
    return outcome(violations[:6], len(evidence.one), figures)


def _names(message: str, word: str) -> bool:
    """Return whether a message has a name in it, and not as part of another word."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message) is not None


def bad_input_is_refused(evidence: Refusals) -> Outcome:
    """Require each bad input to stop the system, and the message to name it."""
    violations = []
    for case, words, error, message in evidence.cases:
        if not all(words) or not words:
            violations.append(Violation(case, "a name to look for in the message", repr(words)))
        elif error is None:
            violations.append(Violation(case, f"an error that names {words[-1]}", message))
        elif not any(_names(message, word) for word in words):
            violations.append(
                Violation(f"the message on {case}", f"the name {words[-1]}", f"{error}: {message}")
            )
    names = ", ".join(case for case, *_ in evidence.cases)
    return outcome(violations[:6], len(evidence.cases), f"refused by name: {names}")


def frozen_scores_are_the_files(evidence: Frozen) -> Outcome:
    """Require a frozen artifact to score as its files do, and another one at its path not."""
    violations = _same_pool(evidence.files, evidence.frozen, "from the frozen artifact")
    if evidence.altered.eval_batch_hash == evidence.frozen.eval_batch_hash:
        violations.append(
            Violation("batch hash of another artifact at the same path", "another hash",
                      evidence.altered.eval_batch_hash)
        )  # fmt: skip
    for arch, scores in evidence.frozen.per_sample.items():
        if evidence.altered.per_sample.get(arch, scores) == scores:
            violations.append(
                Violation(f"scores of arch {arch} from another artifact at the same path",
                          "others", "the same: a stale artifact was scored")
            )  # fmt: skip
    seen = len(evidence.frozen.archs)
    return outcome(violations[:6], seen, f"{seen} archs equal from files and from the artifact")


def archs_are_executed(evidence: ArchResponse) -> Outcome:
    """Require an arch's EPE to depend on exactly the kernels of the options it names."""
    violations = _unasked(evidence)
    for (block, option), (kernels, changed) in evidence.changed.items():
        for arch in evidence.base.archs:
            runs = evidence.options[block][int(arch[block])]
            expected = any(kernel in runs for kernel in kernels)
            scores = changed.per_sample.get(arch, ())
            moved = scores != evidence.base.per_sample[arch]
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
    figures = f"{len(evidence.changed)} options, {seen} responses as the codes say"
    return outcome(violations[:6], seen, figures)


def _unasked(evidence: ArchResponse) -> list[Violation]:
    """Return a violation for each option that was not changed, or that no scored arch runs."""
    if not evidence.changed or not evidence.base.archs:
        return []
    violations = []
    for block, options in enumerate(evidence.options):
        run = {arch[block] for arch in evidence.base.archs}
        for option in range(len(options)):
            kernels = evidence.changed.get((block, option), ((), None))[0]
            if not kernels or str(option) not in run:
                violations.append(
                    Violation(f"option {option} of block {block}", "changed, and run by an arch",
                              "no kernel changed" if not kernels else f"archs run {sorted(run)}")
                )  # fmt: skip
    return violations


_EFFECT = {"dynamics": "training", "protocol": "evaluation"}


def knobs_are_alive(evidence: Sequence[SweptKnob]) -> Outcome:
    """Require each knob to change what its kind says, and nothing it must not.

    A ``dynamics`` knob changes training or its plan, a ``protocol`` knob what is evaluated
    and never training, an ``observation`` knob neither.
    """
    violations = []
    for knob in evidence:
        where = f"{knob.key}: {knob.old} -> {knob.new}"
        effect = _EFFECT.get(knob.kind)
        if knob.old == knob.new:
            violations.append(Violation(where, "another value", "the same one"))
        if knob.error:
            violations.append(Violation(where, "a run", knob.error))
        elif effect and not knob.changed & {effect, "plan"}:
            violations.append(Violation(where, f"another {effect}", "the same: a dead knob"))
        unwanted = knob.changed - ({effect, "plan"} if effect else set())
        if knob.kind == "dynamics":
            unwanted = unwanted - {"evaluation"}
        if unwanted:
            violations.append(
                Violation(where, f"no other {' or '.join(sorted(unwanted))}",
                          f"another, though its kind is {knob.kind}")
            )  # fmt: skip
    if evidence and not any(knob.changed for knob in evidence):
        violations.append(
            Violation("the sweep", "a knob that changes something", f"none of {len(evidence)}")
        )
    by_kind = {k.kind: sum(o.kind == k.kind for o in evidence) for k in evidence}
    figures = ", ".join(f"{count} {kind}" for kind, count in sorted(by_kind.items()))
    return outcome(violations[:8], len(evidence), f"swept: {figures}")
