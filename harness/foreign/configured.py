"""What another trainer was configured with: a YAML file with EdgeFlowNAS's keys, and overrides."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.config import ConfigError
from harness.config.written import Plain, read_yaml
from harness.devices import read_regular
from harness.errors import InputError, plain_line
from harness.foreign.run import Plan
from harness.foreign.text import logged_number, number_of
from harness.wording import quoted

__all__ = ["PLANNED", "configured_plan"]

PLANNED = (
    "train.num_epochs", "train.epoch_mode", "train.steps_per_epoch", "train.batch_size",
    "train.micro_batch_size", "train.lr", "train.lr_schedule", "train.grad_clip_global_norm",
    "train.clip_position", "search.archs_per_step", "eval.eval_every_epoch", "eval.eval_pool_size",
    "eval.eval_batches_per_arch", "eval.bn_recal_batches", "eval.early_stop_min_delta",
    "eval.flow_clip", "data.input_height", "data.input_width",
)  # fmt: skip
"""Keys that the checks look at; a file may have any others."""

_TEXTS = ("train.epoch_mode", "train.lr_schedule", "train.clip_position")


def configured_plan(path: Path | None, assignments: Iterable[str]) -> Plan:
    """Return what a file and ``KEY=VALUE`` strings say, as far as the checks look at it.

    Raises
    ------
    InputError
        If the file is no YAML with sections, a value is of another kind, or an override is of no
        key that is looked at; names it.
    """
    plan = Plan() if path is None else _of_file(path)
    for assignment in assignments:
        key, is_one, text = assignment.partition("=")
        if not is_one or key not in PLANNED:
            msg = f"--set {quoted(assignment)}: expected KEY=VALUE with one of {', '.join(PLANNED)}"
            raise InputError(msg)
        try:
            value = _value(key, read_yaml(text))
        except (ConfigError, ValueError) as error:
            msg = f"--set {key}: {plain_line(str(error))}"
            raise InputError(msg) from None
        plan = Plan({key: value}, {key: "--set"}).over(plan)
    return plan


def _of_file(path: Path) -> Plan:
    try:
        tree = read_yaml(read_regular(path).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        msg = f"{path}: no text in UTF-8: {error.reason} at {error.start}"
        raise InputError(msg) from None
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from None
    if not isinstance(tree, Mapping):
        msg = f"{path}: expected sections such as `train:`, found {quoted(tree)}"
        raise InputError(msg)
    found: dict[str, float | str] = {}
    for key in PLANNED:
        section, name = key.split(".")
        part = tree.get(section)
        if part is not None and not isinstance(part, Mapping):
            msg = f"{path}: {section}: expected a section, found {quoted(part)}"
            raise InputError(msg)
        if part and part.get(name) is not None:
            try:
                found[key] = _value(key, part[name])
            except ValueError as error:
                msg = f"{path}: {key}: {error}"
                raise InputError(msg) from None
    return Plan(found, dict.fromkeys(found, path.name))


def _value(key: str, value: Any) -> float | str:
    """Return a value as its key takes it."""
    found = value.value() if isinstance(value, Plain) else value
    if key in _TEXTS:
        if not isinstance(found, str):
            msg = f"expected a word, found {quoted(found)}"
            raise ValueError(msg)
        return found
    # YAML 1.1 takes 1e-4 for a text.
    return number_of(found) if isinstance(found, str) else logged_number(found)
