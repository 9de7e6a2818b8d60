"""What a further call of a system, or a further word of its description, would let be judged."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.promises.arch_codes import is_code, space_of
from harness.promises.promise import Promise
from harness.promises.registry import PROMISES
from harness.systems.protocol import Description, Evaluation, Training

__all__ = ["SAYINGS", "UNOPENED", "Opening", "applying", "offered", "openings"]

UNOPENED = "parts"
"""What no adapter can offer: the functions that the builtin trainer is put together from."""

SAYINGS: Mapping[str, str] = MappingProxyType(
    {
        "heads": "describe()['heads']: each output head with the names of its kernels",
        "slots": "describe()['slots']: each weight with the names of its two Adam moments",
        "options": "describe()['options']: the kernels that each option of each block runs",
        "augmentation": "describe()['augmentation']: training samples are augmented at random",
        "statistics_kept": "describe()['statistics_kept']: which share of a moving statistic an "
        "update keeps",
        "supports: steps": "'steps' in describe()['supports']: train(steps=N) stops within an "
        "epoch",
        "supports: stops": "'stops' in describe()['supports']: train(steps=N) stops within an "
        "epoch; 'steps' says that it is saved and resumed there, too",
        "supports: frozen": "'frozen' in describe()['supports']: evaluates from eval.frozen",
        "supports: skeletons": "'skeletons' in describe()['supports']: builds every model.skeleton",
        "supports: knobs": "'knobs' in describe()['supports']: honours every configuration key",
        "run log": "train() returns epochs, the rows of its epoch log, or records",
        "declared steps": "train() returns epochs or records, or describe() has 'schedule' or "
        "'drop_last' beside steps",
        "declared rates": "train() returns epochs or records, or describe() has 'schedule' beside "
        "steps",
        "Training.records": "train() returns records: what the run would write to a ledger, "
        "evaluations and norms too",
        "Training.epochs": "train() returns epochs: the rows of its epoch log",
        "Training.checks": "train() returns checks: each norm before and after clipping",
        "Training.losses": "train() returns losses: each micro-batch's mean loss",
        "Training.consumed": "train() returns consumed: digests of what each step computed on",
        "Training.samples": "train() returns samples: a digest of each sample of each step",
        "Evaluation.consumed": "evaluate() returns consumed: digests of what was scored",
        "Evaluation.recal_consumed": "evaluate() returns recal_consumed: digests of what was "
        "recalibrated on",
        "several archs": "evaluate() scores two archs or more",
        "arch codes": "archs are named by a digit for each block (describe()['options'], else "
        "nine of three), or as describe()['space'] says",
        UNOPENED: "the builtin trainer's own functions are asked",
    }
)
"""What a system may say beside answering calls, and how it says it."""


_LOGS = frozenset({"Training.records", "Training.epochs"})
"""Each of which is a run log."""


@dataclass(frozen=True)
class Opening:
    """What is missing, all of it together, and the promises that it would open.

    Attributes
    ----------
    missing : tuple of str
        Names of calls and words of :data:`SAYINGS`.
    promises : tuple of str
        Ids, in the order of the registry.
    """

    missing: tuple[str, ...]
    promises: tuple[str, ...]


def offered(
    about: Description, training: Training | None = None, evaluation: Evaluation | None = None
) -> frozenset[str]:
    """Return the calls that a system answers and what it says beside them.

    Parameters
    ----------
    training, evaluation : optional
        What it answered when it was asked once. None: it was not, or could not.
    """
    found = set(about.can)
    words = ("heads", "slots", "options", "augmentation", "statistics_kept")
    found |= {name for name in words if getattr(about, name)}
    found |= {f"supports: {name}" for name in about.supports}
    if "steps" in about.supports:
        found.add("supports: stops")
    for answer in (training, evaluation):
        for name in vars(answer) if answer is not None else ():
            word = f"{type(answer).__name__}.{name}"
            if word in SAYINGS and getattr(answer, name):
                found.add(word)
    steps = training is not None and bool(training.steps)
    if found & _LOGS:
        found.add("run log")
    if found & _LOGS or (steps and about.schedule is not None and about.schedule.known):
        found.add("declared rates")
    if found & _LOGS or (steps and (about.schedule is not None or about.drop_last)):
        found.add("declared steps")
    if "Training.consumed" in found:
        found.add("Training.samples")  # for which they stand
    archs = () if evaluation is None else evaluation.archs
    if len(archs) > 1:
        found.add("several archs")
    if any(is_code(arch, space_of(about)) for arch in archs):
        found.add("arch codes")
    return frozenset(found)


def applying(has: Collection[str]) -> tuple[str, ...]:
    """Return the promises that need nothing beyond what a system offers, up to the quick tier.

    Data and configuration may still rule one out: a checkpoint of one file, a split of one batch.
    """
    return tuple(p.id for p in PROMISES.values() if p.in_quick and p.needs <= set(has))


def openings(has: Collection[str]) -> tuple[Opening, ...]:
    """Return what a system could add, that which needs the fewest additions first.

    What nothing opens comes last, under :data:`UNOPENED` alone.
    """
    by_missing: dict[frozenset[str], list[Promise]] = {}
    for promise in PROMISES.values():
        missing = promise.needs.difference(has)
        if missing:
            missing = frozenset({UNOPENED}) if UNOPENED in missing else missing
            missing -= {"run log"} if missing & _LOGS else set()
            by_missing.setdefault(missing, []).append(promise)
    found = [
        Opening(tuple(sorted(missing, key=_place)), tuple(p.id for p in several))
        for missing, several in by_missing.items()
    ]
    return tuple(sorted(found, key=_effort))


def _place(word: str) -> tuple[bool, str]:
    """Return where a word stands: calls before what is said beside them."""
    return word in SAYINGS, word


def _effort(opening: Opening) -> tuple[bool, int, int, tuple[str, ...]]:
    """Return what sorts openings: little to add first, then much to gain."""
    quick = sum(PROMISES[name].in_quick for name in opening.promises)
    unopened = UNOPENED in opening.missing
    return unopened, len(opening.missing), -quick, opening.missing
