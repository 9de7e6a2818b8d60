"""Every configuration key changes what its kind says, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import ConfigError, field_kinds, parse_config
from harness.digest import digest_strings
from harness.errors import NotApplicableError
from harness.fc2.batch import Batch
from harness.fc2.crop import Window
from harness.fc2.frozen import FrozenBatches, write_frozen
from harness.promises.bench import Bench, Tree, changed
from harness.promises.promise import (
    Outcome,
    Promise,
    Violation,
    needs,
    outcome,
    require_seen,
)
from harness.promises.samples import odd_samples
from harness.promises.states import END
from harness.systems.protocol import digests_of

__all__ = ["KNOBS_ALIVE", "SKIPPED", "SweptKnob", "knobs", "knobs_are_alive"]


@dataclass(frozen=True)
class SweptKnob:
    """One configuration key, changed.

    Attributes
    ----------
    key, kind : str
        Dotted key and declared kind.
    old, new : Any
        Values.
    changed : frozenset of str
        Which of ``training``, ``evaluation`` and ``plan`` came out differently.
    error : str
        Why the changed value could not run, empty if it could.
    """

    key: str
    kind: str
    old: Any
    new: Any
    changed: frozenset[str]
    error: str = ""


SKIPPED = {
    "runtime.threads": "a process has one thread pool",
    "runtime.onednn": "read once, when TensorFlow is imported",
    "train.gpu_device": "depends on the machine",
    "data.base_path": "where files lie; see same-run-elsewhere",
    "data.train_dir": "where files lie",
    "data.val_dir": "where files lie",
    "train.train_sampling_mode": "fixed by train.epoch_mode, and validated against it",
    "checkpoint.load_checkpoint": "read by the command, before a system is opened",
    "checkpoint.reset_early_stop_on_resume": "takes effect on resume alone",
    "checkpoint.every_steps": "the protocol saves on demand",
}
"""Keys that the sweep leaves out, and why; fixed keys accept one value and need none."""


_EPOCHS = 3


@needs("train", "evaluate", "state", "batches", says=("supports: knobs",))
def knobs(bench: Bench) -> list[SweptKnob]:
    """Change every key that can be changed, one at a time, and see what comes out differently."""
    if "knobs" not in bench.describe().supports:
        msg = "the system does not say that it honours every key (supports: knobs)"
        raise NotApplicableError(msg)
    sections: dict[str, Tree] = {"data": {
        "base_path": str(odd_samples(bench, "knobs")), "train_dir": "train", "val_dir": "val",
        "flow_clip": 50.0,
    }, "train": {
        "epoch_mode": "fixed_steps", "steps_per_epoch": 1, "train_sampling_mode": None,
        "num_epochs": _EPOCHS, "batch_size": 3, "micro_batch_size": 2,
    }, "eval": {
        "batch_size": 2, "eval_batches_per_arch": 1, "bn_recal_batches": 1, "eval_pool_size": 2,
        # No epoch improves by as much as early_stop_min_delta, so
        # that a threshold of 0 has an effect.
        "early_stop_min_delta": 1e6, "early_stop_patience": 15, "eval_every_epoch": 1,
        "recal_mode": "fixed", "frozen": "",
    }}  # fmt: skip
    # What the system has one value of stays as it is, and is not swept either.
    vary = {section: bench.settable(section, values) for section, values in sections.items()}
    base = changed(bench.config, **vary)
    signature, improved = _signature(bench, base)
    if _signature(bench, base)[0] != signature:
        msg = "two runs of one configuration differ: what a key changes cannot be told from noise"
        raise NotApplicableError(msg)
    swept = _alternatives(bench, base)
    if not improved:  # no threshold can then tell an improvement from none
        swept = [knob for knob in swept if knob[0] != "eval.early_stop_min_delta"]
    return [_swept(bench, base, *knob, signature) for knob in swept]


def _alternatives(bench: Bench, base: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Return (key, kind, another value) for every key that is swept."""
    found: list[tuple[str, str, Any]] = []
    for key, kind in field_kinds().items():
        only = key in bench.describe().settings
        if kind not in ("fixed", "environment") and key not in SKIPPED and not only:
            section, name = key.split(".", 1)
            found.append((key, kind, _another(key, base[section].get(name), bench)))
    return found


_VALUES: dict[str, Any] = {
    "train.epoch_mode": "full_pass", "train.train_crop_mode": "center", "train.num_epochs": 4,
    "train.clip_position": "update", "train.micro_batch_size": 1, "train.batch_size": 2,
    "train.grad_clip_global_norm": 1e-3, "data.flow_clip": 0.05, "eval.flow_clip": 0.05,
    "eval.recal_mode": "random", "eval.early_stop_patience": 1,
    "eval.early_stop_min_delta": 0.0, "model.skeleton": "bilinear", "eval.eval_every_epoch": 2,
    "runtime.experiment_name": "another", "runtime.output_root": "elsewhere",
}  # fmt: skip


def _another(key: str, value: Any, bench: Bench) -> Any:
    """Return another valid value of a key; how is generated from its present one."""
    if key == "eval.frozen":
        return str(_artifact(bench))
    if key == "runtime.cache_dir":
        return str(bench.folder / "knob-cache")
    if key == "eval.crop":
        height, width = bench.config["data"]["input_height"], bench.config["data"]["input_width"]
        # Every skeleton's stride (4, or 16) divides 16.
        return [height, width - 16] if width > 16 else [height + 16, width]
    if key in ("data.input_height", "data.input_width"):
        return value - 16 if value > 16 else value + 4
    if key in _VALUES:
        return _VALUES[key]
    if isinstance(value, str):
        return {"stop": "warn", "warn": "stop"}.get(value, value + "-changed")
    return value + 1 if isinstance(value, int) else value * 2


def _artifact(bench: Bench) -> Path:
    path = bench.folder / "knob-frozen.npz"
    if not path.exists():
        with bench.at(END) as system:
            served = [system.batches("eval"), system.batches("recal")]
        require_seen(served[0], "no evaluation batch was served (batches('eval'))")
        groups = [
            tuple(
                Batch(b.ids, tuple(Window(*w) for w in b.windows), b.frames, b.flow, b.valid,
                      b.flow_clip, b.digest)
                for b in batches
            )
            for batches in served
        ]  # fmt: skip
        write_frozen(path, FrozenBatches(*groups))
    return path


def _signature(bench: Bench, tree: Mapping[str, Any]) -> tuple[dict[str, str], bool]:
    """Return digests of training, evaluation and plan, and whether the EPE ever improved."""
    with bench.open(**tree) as system:
        run = system.train(_EPOCHS)
        scores = system.evaluate()
        state = digests_of(system)
    weights = [text for name in sorted(state) if "progress/" not in name
               for text in (name, state[name])]  # fmt: skip
    stopping = [v for n, v in sorted(state.items()) if n in _STOPPING]
    steps = [f"{s.archs}{s.batch}{s.lr!r}" for s in run.steps]
    evaluated = [
        repr(scores.archs), scores.eval_batch_hash, scores.bn_recal_batch_hash,
        # Which epochs were scored is all that eval.eval_every_epoch changes.
        repr(scores.per_arch_epe), repr([row.mean_epe_12 is None for row in run.epochs]),
    ]  # fmt: skip
    epe = [row.mean_epe_12 for row in run.epochs if row.mean_epe_12 is not None]
    return {
        "training": digest_strings([*weights, *steps]),
        "evaluation": digest_strings(evaluated),
        "plan": digest_strings([repr(len(run.steps)), *stopping]),
    }, len(epe) > 1 and min(epe[1:]) < epe[0]


_STOPPING = ("progress/bad_epochs", "progress/patience_metric")


def _swept(
    bench: Bench,
    base: Mapping[str, Any],
    key: str,
    kind: str,
    value: Any,
    signature: dict[str, str],
) -> SweptKnob:
    section, name = key.split(".", 1)
    tree = changed(base, **{section: {name: value}})
    old = base[section].get(name)
    try:
        parse_config(tree)
        found, _ = _signature(bench, tree)
    except (ConfigError, ValueError) as error:
        return SweptKnob(key, kind, old, value, frozenset(), f"{type(error).__name__}: {error}")
    differing = frozenset(what for what in signature if signature[what] != found[what])
    return SweptKnob(key, kind, old, value, differing)


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
            # Other weights score otherwise.
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


KNOBS_ALIVE = Promise(
    id="knobs-alive",
    sentence="every configuration key changes what its kind says, and nothing else",
    evidence=knobs,
    check=knobs_are_alive,
    hint=(
        "A key that changes nothing was tuned for nothing; one that changes more than it says "
        "makes runs incomparable."
    ),
    tier="full",
    explained_by=("same-run-elsewhere",),
)
