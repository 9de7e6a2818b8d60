"""One frozen, validated configuration tree that reads EdgeFlowNAS's YAML unchanged.

Sections and keys that EdgeFlowNAS has keep their names and meaning; ours stand beside
them. Every field declares what kind of thing it is:

dynamics
    changes the weights that training yields;
protocol
    changes what an evaluation measures;
observation
    changes neither, only what is recorded and where;
environment
    changes the last bits: threads, kernels, device, and where files lie;
fixed
    accepts the one value that is implemented, so that no knob is dead.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import InputError

__all__ = [
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "DistillConfig",
    "EvalConfig",
    "Kind",
    "ModelConfig",
    "RuntimeConfig",
    "TrainConfig",
    "WatchConfig",
    "dump_config",
    "field_kinds",
    "load_config",
    "parse_config",
    "with_overrides",
]

Kind = Literal["dynamics", "protocol", "observation", "environment", "fixed"]


class ConfigError(InputError):
    """The configuration is wrong; the message names each key and what was expected."""


def _kind(kind: Kind, default: Any, **limits: Any) -> Any:
    return Field(default=default, json_schema_extra={"kind": kind}, **limits)


def _dynamics(default: Any, **limits: Any) -> Any:
    return _kind("dynamics", default, **limits)


def _protocol(default: Any, **limits: Any) -> Any:
    return _kind("protocol", default, **limits)


def _observation(default: Any, **limits: Any) -> Any:
    return _kind("observation", default, **limits)


def _environment(default: Any, **limits: Any) -> Any:
    return _kind("environment", default, **limits)


def _fixed(default: Any) -> Any:
    return _kind("fixed", default)


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, allow_inf_nan=False, populate_by_name=True
    )

    @model_validator(mode="after")
    def _only_implemented_values(self) -> "_Section":
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            kind = extra.get("kind") if isinstance(extra, Mapping) else None
            value = getattr(self, name)
            if kind == "fixed" and value != field.default:
                key = field.alias or name
                msg = f"`{key}` is fixed: got {value!r}, only {field.default!r} is implemented"
                raise ValueError(msg)
        return self


class RuntimeConfig(_Section):
    """Where a run lives, its seed, and the environment that is set before TensorFlow."""

    experiment_name: str = _observation("supernet", min_length=1)
    output_root: str = _observation("outputs/supernet", min_length=1)
    seed: int = _dynamics(42, ge=0)
    threads: int = _environment(2, ge=1)
    onednn: bool = _environment(True)
    cache_dir: str = _fixed("")


class DistillConfig(_Section):
    """EdgeFlowNAS's distillation block: accepted as it ships, that is switched off."""

    enabled: bool = _fixed(False)
    weight: float = Field(default=1.0, alias="lambda", json_schema_extra={"kind": "fixed"})
    teacher_type: str = _fixed("edgeflownet")
    teacher_ckpt: str = _fixed("../EdgeFlowNet/checkpoints/best.ckpt")
    teacher_arch_code: str = _fixed("0 0 0 0 2 1 2 2 2")
    layer_weights: str = _fixed("")


class TrainConfig(_Section):
    """Training dynamics."""

    gpu_device: int = _environment(0, ge=-1)
    num_epochs: int = _dynamics(200, ge=1)
    epoch_mode: Literal["fixed_steps", "full_pass"] = _dynamics("fixed_steps")
    steps_per_epoch: int = _dynamics(50, ge=1)
    train_sampling_mode: Literal["random", "shuffle_no_replacement"] | None = _dynamics(None)
    train_crop_mode: Literal["random", "center"] = _dynamics("random")
    batch_size: int = _dynamics(32, ge=1)
    micro_batch_size: int | None = _dynamics(None, ge=1)
    lr: float = _dynamics(1e-4, gt=0)
    optimizer: str = _fixed("adam")
    lr_schedule: str = _fixed("cosine")
    weight_decay: float = _dynamics(4e-5, ge=0)
    grad_clip_global_norm: float = _dynamics(5.0, gt=0)
    clip_position: Literal["micro_step", "update"] = _dynamics("micro_step")
    supernet_mode: str = _fixed("strict_fairness")
    uncertainty_type: str = _fixed("LinearSoftplus")
    fast_mode: bool = _fixed(False)
    distill: DistillConfig = DistillConfig()

    @model_validator(mode="after")
    def _sampling_fits_the_epoch_mode(self) -> "TrainConfig":
        wanted = "shuffle_no_replacement" if self.epoch_mode == "full_pass" else "random"
        given = self.train_sampling_mode
        if given is not None and given != wanted:
            msg = (
                f"`train_sampling_mode` is {given!r}, but epoch_mode {self.epoch_mode!r} "
                f"needs {wanted!r}"
            )
            raise ValueError(msg)
        if self.micro_batch_size is not None and self.micro_batch_size > self.batch_size:
            msg = (
                f"`micro_batch_size` is {self.micro_batch_size}, "
                f"larger than `batch_size` {self.batch_size}"
            )
            raise ValueError(msg)
        return self

    @property
    def micro_batch(self) -> int:
        """Samples per micro-batch, by default the whole batch."""
        return self.micro_batch_size or self.batch_size


class DataConfig(_Section):
    """Where the samples lie, the training crop in px, and the label clip in px."""

    dataset: str = _fixed("FC2")
    base_path: str = _environment(".")
    train_dir: str = _environment("train", min_length=1)
    val_dir: str = _environment("val", min_length=1)
    input_height: int = _dynamics(180, ge=1)
    input_width: int = _dynamics(240, ge=1)
    flow_channels: int = _fixed(2)
    flow_clip: float | None = _dynamics(50.0, gt=0)

    def split_dir(self, role: Literal["train", "val"]) -> Path:
        """Return the folder of one split, relative to the working directory."""
        return Path(self.base_path) / (self.train_dir if role == "train" else self.val_dir)


class EvalConfig(_Section):
    """What an evaluation measures and how often."""

    eval_every_epoch: int = _protocol(1, ge=1)
    eval_pool_size: int = _protocol(12, ge=2, le=3**9)
    bn_recal_batches: int = _protocol(8, ge=1)
    eval_batches_per_arch: Annotated[int, Field(ge=1)] | Literal["full"] = _protocol(4)
    batch_size: int | None = _protocol(None, ge=1)
    crop: tuple[int, int] | None = _protocol(None)
    flow_clip: float | None = _protocol(None, gt=0)
    recal_mode: Literal["fixed", "random"] = _protocol("fixed")
    frozen: str = _protocol("")
    early_stop_patience: int = _dynamics(15, ge=1)
    early_stop_min_delta: float = _dynamics(0.002, ge=0)


class CheckpointConfig(_Section):
    """Resuming and saving."""

    load_checkpoint: bool = _observation(False)
    resume_experiment_name: str = _fixed("")
    reset_early_stop_on_resume: bool = _dynamics(False)
    every_steps: int = _observation(0, ge=0)


class ModelConfig(_Section):
    """The supernet: its skeleton and base width C (channels of the first layer)."""

    skeleton: Literal["full", "bilinear", "decoupled"] = _dynamics("full")
    width: int = _dynamics(32, ge=1)


class WatchConfig(_Section):
    """What is checked while training runs."""

    finite: Literal["stop", "warn"] = _observation("stop")


class Config(_Section):
    """The whole tree. Frozen: derive variants with :func:`with_overrides`."""

    runtime: RuntimeConfig = RuntimeConfig()
    train: TrainConfig = TrainConfig()
    data: DataConfig = DataConfig()
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    model: ModelConfig = ModelConfig()
    watch: WatchConfig = WatchConfig()

    @property
    def eval_batch_size(self) -> int:
        """Batch size of evaluation and recalibration, by default the training one."""
        return self.eval.batch_size or self.train.batch_size

    @property
    def train_crop(self) -> tuple[int, int]:
        """Training crop, (height, width) in px."""
        return self.data.input_height, self.data.input_width

    @property
    def eval_crop(self) -> tuple[int, int]:
        """Evaluation crop, (height, width) in px, by default the training one."""
        return self.eval.crop or self.train_crop


def parse_config(tree: Mapping[str, Any] | None) -> Config:
    """Validate a nested mapping.

    Raises
    ------
    ConfigError
        On an unknown key (with the nearest known one), a value out of range or one
        that is not implemented. All problems are listed at once.
    """
    data = dict(tree or {})
    problems = list(_unknown_keys(data, Config, ""))
    if problems:
        raise ConfigError("; ".join(problems))
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError("; ".join(_plain(e) for e in error.errors())) from None


def load_config(path: Path) -> Config:
    """Read and validate a YAML file.

    Raises
    ------
    ConfigError
        If the file is absent, is not YAML, or does not validate; names the file.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"no such configuration file: {path}"
        raise ConfigError(msg) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"{path}: not readable as YAML: {error}"
        raise ConfigError(msg) from None
    if tree is not None and not isinstance(tree, Mapping):
        msg = f"{path}: expected sections such as `train:`, found {type(tree).__name__}"
        raise ConfigError(msg)
    try:
        return parse_config(tree)
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from None


def with_overrides(config: Config, assignments: Iterable[str]) -> Config:
    """Apply ``KEY=VALUE`` strings such as ``train.lr=1e-3``; values are read as YAML.

    Raises
    ------
    ConfigError
        If an assignment has no ``=`` or the result does not validate.
    """
    tree = config.model_dump(by_alias=True)
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            msg = f"expected KEY=VALUE such as train.lr=1e-3, got {assignment!r}"
            raise ConfigError(msg)
        *parents, leaf = key.strip().split(".")
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                msg = f"`{key}`: `{parent}` is a value, not a section"
                raise ConfigError(msg)
        section[leaf] = _scalar(text)
    return parse_config(tree)


def _scalar(text: str) -> Any:
    value = yaml.safe_load(text)
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string for want of a dot
        try:
            return float(value)
        except ValueError:
            return value
    return value


def dump_config(config: Config) -> str:
    """Return the resolved tree as YAML that :func:`load_config` reads back equal."""
    tree = config.model_dump(mode="json", by_alias=True)
    return str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def field_kinds() -> dict[str, Kind]:
    """Return the kind of every leaf, by dotted key such as ``train.lr``."""
    return dict(_leaves(Config, ""))


def _leaves(section: type[BaseModel], prefix: str) -> Iterable[tuple[str, Kind]]:
    for name, field in section.model_fields.items():
        key = prefix + (field.alias or name)
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _leaves(annotation, f"{key}.")
            continue
        extra = field.json_schema_extra
        kind = extra.get("kind") if isinstance(extra, Mapping) else None
        if kind not in get_args(Kind):
            msg = f"field `{key}` declares no kind"
            raise TypeError(msg)
        yield key, kind  # type: ignore[misc]


def _unknown_keys(tree: Mapping[str, Any], section: type[BaseModel], prefix: str) -> Iterable[str]:
    known = {field.alias or name: field for name, field in section.model_fields.items()}
    for key, value in tree.items():
        if key not in known:
            yield _suggest(prefix, str(key), list(known))
            continue
        annotation = known[key].annotation
        nested = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        if nested and isinstance(value, Mapping):
            yield from _unknown_keys(value, annotation, f"{prefix}{key}.")  # type: ignore[arg-type]


def _suggest(prefix: str, key: str, siblings: list[str]) -> str:
    everywhere = field_kinds()
    close = difflib.get_close_matches(key, siblings, n=1, cutoff=0.6)
    if close:
        return f"unknown key `{prefix}{key}`: did you mean `{prefix}{close[0]}`?"
    elsewhere = [k for k in everywhere if k.rsplit(".", 1)[-1] == key]
    far = elsewhere or difflib.get_close_matches(prefix + key, everywhere, n=1, cutoff=0.6)
    if far:
        return f"unknown key `{prefix}{key}`: did you mean `{far[0]}`?"
    return f"unknown key `{prefix}{key}`: known here are {', '.join(siblings)}"


def _plain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"in `{key}`: {message}"
    return f"`{key}`: {message}, got {error['input']!r}"
