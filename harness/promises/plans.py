"""A restore under another plan than the checkpoint's refuses, or says so."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from harness.errors import NotApplicableError
from harness.promises.bench import Bench, Tree
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.promises.refusals import attempted, names_word
from harness.promises.setting import crop_stride
from harness.promises.states import CUT, Trained
from harness.systems.protocol import System, Training

__all__ = [
    "CHANGED_PLAN_TOLD", "ChangedKey", "ChangedPlan", "changed_plan", "changed_plan_is_told",
]  # fmt: skip


@dataclass(frozen=True)
class ChangedKey:
    """A configuration key that a checkpoint was restored under with another value.

    Attributes
    ----------
    key : str
        ``section.name``; of the crop its height and width are one key.
    saved, asked : str
        Its value when the checkpoint was saved, and when it was restored.
    told : bool
        Whether an error, or what the restore returned, names it.
    found : str
        The error, the note, or how training went on.
    """

    key: str
    saved: str
    asked: str
    told: bool
    found: str


@dataclass(frozen=True)
class ChangedPlan:
    """What a system made of a checkpoint under other keys of the training plan."""

    keys: Sequence[ChangedKey]


@dataclass(frozen=True)
class _Change:
    """Another value of a key, and the words of which a message must hold one."""

    key: str
    sections: Mapping[str, Tree]
    saved: str
    asked: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class _Attempt:
    """What became of a restore: what was said, the error if any, whether a system had opened."""

    message: str
    error: str | None
    opened: bool
    went_on: Training | None


@needs("train", "state", "save", "restore")
def changed_plan(bench: Bench) -> ChangedPlan:
    """Restore a checkpoint under every other value at once, less those that were told already.

    All at once, because opening a system is dear: who names each key in one message is asked
    once.
    """
    trained, found = bench.trained, list[ChangedKey]()
    left = list(_changes(bench, trained))
    while left:
        attempt = _restored_under(bench, left)
        told = [change for change in left if _tells(attempt.message, change)]
        found += [
            ChangedKey(c.key, c.saved, c.asked, told=True, found=attempt.message) for c in told
        ]
        rest = [change for change in left if change not in told]
        if not told and not attempt.opened:  # a net of one size alone: nothing was restored
            rest = [change for change in left if change.key != _CROP]
            if len(rest) == len(left):
                msg = f"the system does not open under another plan: {attempt.message}"
                raise NotApplicableError(msg)
        elif not told:
            found += _untold(trained, left, attempt)
            break
        left = rest
    if not found:
        msg = "the system has no crop, batch size, learning rate, clip or epochs to vary"
        raise NotApplicableError(msg)
    return ChangedPlan(found)


_CROP = "data.input_height, data.input_width"
_SCALE = 1.5
"""Another learning rate is so many times the one that was saved."""


def _changes(bench: Bench, trained: Trained) -> Iterator[_Change]:
    """Return another value for each key of the plan that the system can vary."""
    about, train = bench.describe(), bench.config["train"]
    fixed = about.settings
    # Of a system that has every key of ours: what others keep beside a checkpoint is theirs to say.
    further = _further(bench.config) if "knobs" in about.supports else ()
    for change in (
        _number(train, "lr", _SCALE * train["lr"], "learning rate", "learning_rate"),
        _number(train, "num_epochs", train["num_epochs"] + 1, "epochs"),
        _number(train, "batch_size", _other_batch(train), "batch size"),
        _number(
            train, "grad_clip_global_norm", 2 * train["grad_clip_global_norm"], "clip",
            "clip norm", "clip threshold", "grad_clip", "clip_norm",
        ),
        _crop(bench.config, crop_stride(bench.config, about)), *further,
    ):  # fmt: skip
        given = {f"{section}.{key}" for section, keys in change.sections.items() for key in keys}
        unknown = change.key == "train.grad_clip_global_norm" and not trained.second.threshold
        if not given & set(fixed) and not unknown:
            yield change


def _further(config: Tree) -> Iterator[_Change]:
    """Return other values of what else decides how training goes on."""
    train, clip = config["train"], config["data"].get("flow_clip")
    other = {"micro_step": "update", "update": "micro_step", "random": "center", "center": "random"}
    micro = int(train["micro_batch_size"] or train["batch_size"])
    for section, name, saved, asked in (
        ("runtime", "seed", config["runtime"]["seed"], config["runtime"]["seed"] + 1),
        ("data", "flow_clip", clip, 2 * clip if clip else 100.0),
        ("train", "weight_decay", train["weight_decay"], 2 * train["weight_decay"] + 1e-5),
        ("train", "micro_batch_size", micro, micro - 1 if micro > 1 else micro + 1),
        ("train", "clip_position", train["clip_position"], other[train["clip_position"]]),
        ("train", "train_crop_mode", train["train_crop_mode"], other[train["train_crop_mode"]]),
    ):
        sections = {section: {name: asked}}
        yield _Change(f"{section}.{name}", sections, str(saved), str(asked), (name,))


def _number(train: Tree, name: str, other: Any, *words: str) -> _Change:
    saved = f"{train[name]:g}"
    return _Change(f"train.{name}", {"train": {name: other}}, saved, f"{other:g}", (name, *words))


def _other_batch(train: Tree) -> int:
    size, micro = int(train["batch_size"]), int(train["micro_batch_size"] or 1)
    return size - 1 if size - 1 >= micro else size + 1


def _crop(config: Tree, step: int) -> _Change:
    """Return a crop of one stride less in width, or else in height, or else of one more."""
    height, width = config["data"]["input_height"], config["data"]["input_width"]
    if width > step:
        asked = height, width - step
    else:
        asked = (height - step, width) if height > step else (height, width + step)
    section = {"input_height": asked[0], "input_width": asked[1]}
    words = ("input_height", "input_width", "crop", "input size", "input shape", "input_shape")
    sizes = f"{height} x {width}", "{} x {}".format(*asked)
    return _Change(_CROP, {"data": section}, *sizes, words)


def _tells(message: str, change: _Change) -> bool:
    return any(names_word(message.lower(), word) for word in change.words)


def _restored_under(bench: Bench, changes: Sequence[_Change]) -> _Attempt:
    """Restore under changed keys.

    What only trains on is trained on, to see what becomes of it; a refusal may come as late as
    then.
    """
    sections: dict[str, dict[str, Any]] = {}
    for change in changes:
        for section, values in change.sections.items():
            sections.setdefault(section, {}).update(values)
    said, seen = list[str](), list[Training]()
    with ExitStack() as opened:
        systems = list[System]()
        error, message = attempted(
            lambda: systems.append(opened.enter_context(bench.open(**sections)))
        )
        if error is None:
            error, message = attempted(
                lambda: said.extend(systems[0].restore(bench.trained.paths[CUT]) or ())
            )
        said = _of_this_restore(bench, said)
        if error is None and not any(_tells(" ".join(said), change) for change in changes):
            error, message = attempted(lambda: seen.append(_train_on(systems[0])))
    text = " ".join(said) if error is None else message
    return _Attempt(text, error, bool(systems), seen[0] if seen else None)


def _of_this_restore(bench: Bench, said: list[str]) -> list[str]:
    """Leave out the notes that a restore under the checkpoint's own plan returns too."""
    if not said:
        return said
    with bench.at(CUT) as system:
        always = system.restore(bench.trained.paths[CUT]) or ()
    return [note for note in said if note not in always]


def _train_on(system: System) -> Training:
    """Train as little of epoch 2 as the system can."""
    steps = 1 if "steps" in system.describe().supports else None
    return system.train(2, evaluate=False, steps=steps)


def _untold(
    trained: Trained, changes: Sequence[_Change], attempt: _Attempt
) -> Iterator[ChangedKey]:
    """Return the keys of which nothing was said; the number of epochs only if it matters."""
    scaled = any(change.key == "train.lr" for change in changes)
    rates = _rate(trained.second), _rate(attempt.went_on)
    error = f"{attempt.error}: {attempt.message}" if attempt.error else ""
    for change in changes:
        found = error or "it went on and said nothing"
        if not error and change.key == "train.num_epochs" and not _another_schedule(rates, scaled):
            continue  # of a constant rate, a longer run is the same run for longer
        if not error and change.key in ("train.lr", "train.num_epochs") and None not in rates:
            found += ", at learning rate {1:.6g} where the saved run goes on at {0:.6g}".format(
                *rates
            )
        yield ChangedKey(change.key, change.saved, change.asked, told=False, found=found)


def _another_schedule(rates: tuple[float | None, float | None], scaled: bool) -> bool:
    """Return whether a learning rate is another for more than being scaled."""
    before, after = rates
    if before is None or after is None:
        return False
    alike = (before, before * _SCALE) if scaled else (before,)
    return not any(math.isclose(after, rate, rel_tol=1e-6) for rate in alike)


def _rate(training: Training | None) -> float | None:
    """Return the learning rate of the first step, None where there is none to be seen."""
    return training.steps[0].lr if training is not None and training.steps else None


def changed_plan_is_told(evidence: ChangedPlan) -> Outcome:
    """Require an error or a note on each changed key, and that it names the key."""
    violations = [
        Violation(
            f"restored under {one.key} {one.asked}, saved under {one.saved}",
            f"an error, or a note that restore returns, that names {one.key}", one.found,
            "accepted",
        )
        for one in evidence.keys if not one.told
    ]  # fmt: skip
    names = ", ".join(one.key for one in evidence.keys)
    return outcome(violations, len(evidence.keys), f"told when restored: {names}")


CHANGED_PLAN_TOLD = Promise(
    id="changed-plan-told",
    sentence="a restore under another crop, batch, rate, clip or number of epochs says so",
    evidence=changed_plan,
    check=changed_plan_is_told,
    hint=(
        "The curve has a border at the resume that nobody sees: with a schedule over all epochs, "
        "the rate of a finished run jumps up when it is prolonged. Save the configuration in the "
        "checkpoint and hold the new one against it, or, where the trainer cannot vary a key, "
        "name it in describe().settings."
    ),
    # A restore that does not look at what it restores.
    explained_by=("checkpoint-verified",),
)
