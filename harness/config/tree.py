"""One frozen, validated configuration tree that reads EdgeFlowNAS's YAML unchanged.

Sections and keys that EdgeFlowNAS has keep their names and meaning; ours stand beside
them. Every field declares what kind of thing it is:

dynamics
    changes the weights that training yields;
protocol
    changes what an evaluation measures;
observation
    changes neither, only what is recorded, where, and at what cost;
environment
    changes the last bits: threads, kernels, device, and where files lie;
fixed
    accepts the one value that is implemented, so that no knob is dead; and, to be read and handed
    on to the trainer that is gated, those of EdgeFlowNAS's later trainers (:mod:`.theirs`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from harness.wording import quoted

__all__ = [
    "PATH",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "DistillConfig",
    "EvalConfig",
    "GateConfig",
    "Kind",
    "ModelConfig",
    "RuntimeConfig",
    "TrainConfig",
    "WatchConfig",
    "WatchMode",
]

Kind = Literal["dynamics", "protocol", "observation", "environment", "fixed"]
WatchMode = Literal["stop", "warn", "off"]


class _OnDisk:
    """Marks a key whose value is a path, or a part of one."""


PATH = _OnDisk()
_PathText = Annotated[str, PATH]

# Above what any machine serves: a value beyond is a mistake of the keyboard.
_MOST_COUNT = 10**9
_MOST_SIDE = 2**14
_MOST_SAMPLES = 2**20
_MOST_MIB = 2**24
_MOST_SEED = 2**63
_MOST_PICTURES = 16
_MOST_SINGLE = 3e38
"""Just below the largest float32, in which steps are computed: more would be infinite there."""
_LEAST_SINGLE = 1.2e-38
"""Just above the smallest normal float32; what is less may be taken for 0."""


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


def _fixed(default: Any, *theirs: Any) -> Any:
    return Field(default=default, json_schema_extra={"kind": "fixed", "theirs": [*theirs]})


class _Section(BaseModel):
    # Not strict: PyYAML reads 1e-4, without a dot, as text.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, allow_inf_nan=False, populate_by_name=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        # YAML's `yes` and `on` are True, which pydantic takes for 1.
        if isinstance(value, bool) and annotation is not bool:
            msg = f"`{info.field_name}` takes no truth value, got {value}"
            raise ValueError(msg)
        # No file's name can hold it, and what prints it is cut there.
        if isinstance(value, str) and "\0" in value:
            msg = f"`{info.field_name}` holds a NUL character"
            raise ValueError(msg)
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _nothing_that_is_zero_in_float32(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, float) and 0 < abs(value) < _LEAST_SINGLE:
            msg = f"`{info.field_name}` is 0 in float32, in which steps are computed: got {value}"
            raise ValueError(msg)
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _only_implemented_values(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        extra = field.json_schema_extra
        theirs = extra.get("theirs") if isinstance(extra, Mapping) else None
        if isinstance(theirs, list) and value in theirs:
            return value
        if isinstance(extra, Mapping) and extra.get("kind") == "fixed" and value != field.default:
            key = field.alias or info.field_name
            msg = f"`{key}` is fixed: got {quoted(value)}, only {field.default!r} is implemented"
            raise ValueError(msg)
        return value


class RuntimeConfig(_Section):
    """Where a run lives, its seed, and the environment that is set before TensorFlow."""

    experiment_name: _PathText = _observation("supernet", min_length=1, max_length=4095)
    output_root: _PathText = _observation("outputs/supernet", min_length=1, max_length=4095)
    seed: int = _dynamics(42, ge=0, le=_MOST_SEED)
    threads: int = _environment(2, ge=1, le=4096)
    onednn: bool = _environment(True)
    # TensorFloat-32 rounds the factors of matrix products and convolutions to 10 bits on a GPU.
    tf32: bool = _environment(False)
    gpu_memory_mib: int | None = _environment(None, ge=1, le=_MOST_MIB)
    require_gpu: bool = _environment(False)
    # Where scores are summed up: in NumPy, or where outputs are; auto: there on a GPU. It counts
    # for the protocol by what it comes to (`harness.runs.identity`): last bits of scores follow it.
    score_on: Literal["auto", "host", "device"] = _environment("auto")
    cache_dir: _PathText = _observation("", max_length=4095)
    cache_mib: int = _observation(512, ge=0, le=_MOST_MIB)
    pictures: int = _observation(2, ge=0, le=_MOST_PICTURES)


class DistillConfig(_Section):
    """EdgeFlowNAS's distillation block: accepted as it ships, that is switched off."""

    enabled: bool = _fixed(False)
    # `lambda` is no name in Python.
    weight: float = Field(default=1.0, alias="lambda", json_schema_extra={"kind": "fixed"})
    teacher_type: str = _fixed("edgeflownet")
    teacher_ckpt: str = _fixed("../EdgeFlowNet/checkpoints/best.ckpt")
    teacher_arch_code: str = _fixed(
        "0 0 0 0 2 1 2 2 2", "0 0 0 0 0 0 1 1 1 1 1", "2 1 0 0 0 0 1 1 1 1 1"
    )
    layer_weights: str = _fixed("")


class TrainConfig(_Section):
    """Training dynamics."""

    # None: the first GPU if there is one. 0 stands in EdgeFlowNAS's files, and in those that
    # earlier versions wrote, whether or not anybody asked for it.
    gpu_device: int | None = _environment(None, ge=-1, le=1023)
    num_epochs: int = _dynamics(200, ge=1, le=_MOST_COUNT)
    epoch_mode: Literal["fixed_steps", "full_pass"] = _dynamics("fixed_steps")
    steps_per_epoch: int = _dynamics(50, ge=1, le=_MOST_COUNT)
    train_sampling_mode: Literal["random", "shuffle_no_replacement"] | None = _dynamics(None)
    train_crop_mode: Literal["random", "center"] = _dynamics("random")
    batch_size: int = _dynamics(32, ge=1, le=_MOST_SAMPLES)
    micro_batch_size: int | None = _dynamics(None, ge=1, le=_MOST_SAMPLES)
    lr: float = _dynamics(1e-4, gt=0, le=_MOST_SINGLE)
    optimizer: str = _fixed("adam")
    lr_schedule: str = _fixed("cosine")
    weight_decay: float = _dynamics(4e-5, ge=0, le=_MOST_SINGLE)
    # EdgeFlowNAS's until its commit 2ef204e, which clips at 200, and once per update. Its YAML
    # never says the position.
    grad_clip_global_norm: float = _dynamics(5.0, gt=0, le=_MOST_SINGLE)
    clip_position: Literal["micro_step", "update"] = _dynamics("micro_step")
    supernet_mode: str = _fixed("strict_fairness", "balanced_irregular_fairness")
    # Of supernet_trainer_v3, which trains one arch of a cycle on each GPU where it is told to.
    multi_gpu_mode: str = _fixed("single_gpu")
    gpu_devices: str = _fixed("0")
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
    # Where files lie is not which samples there are: these are in a run's identity, by their ids.
    base_path: _PathText = _environment(".", max_length=4095)
    train_dir: _PathText = _environment("train", min_length=1, max_length=4095)
    val_dir: _PathText = _environment("val", min_length=1, max_length=4095)
    input_height: int = _dynamics(180, ge=1, le=_MOST_SIDE)
    input_width: int = _dynamics(240, ge=1, le=_MOST_SIDE)
    flow_channels: int = _fixed(2)
    flow_clip: float | None = _dynamics(50.0, gt=0, le=_MOST_SINGLE)
    # Neither changes a number; `knobs-alive` holds them to that.
    num_workers: int = _observation(2, ge=0, le=1024)
    prefetch_batches: int = _observation(2, ge=0, le=2**16)
    # EdgeFlowNAS's own, from supernet_trainer_v3 on: handed on to it, ours has the two above.
    fc2_num_workers: int | None = _environment(None, ge=1, le=1024)
    fc2_eval_num_workers: int | None = _environment(None, ge=1, le=1024)
    eval_prefetch_batches: int | None = _environment(None, ge=0, le=2**16)

    def split_dir(self, role: Literal["train", "val"]) -> Path:
        """Return the folder of one split, relative to the working directory."""
        return Path(self.base_path) / (self.train_dir if role == "train" else self.val_dir)


_Side = Annotated[int, Field(ge=1, le=_MOST_SIDE)]


class EvalConfig(_Section):
    """What an evaluation measures and how often."""

    eval_every_epoch: int = _protocol(1, ge=1, le=_MOST_COUNT)
    eval_pool_size: int = _protocol(12, ge=1, le=3**9)
    bn_recal_batches: int = _protocol(8, ge=1, le=_MOST_SAMPLES)
    eval_batches_per_arch: Annotated[int, Field(ge=1, le=_MOST_SAMPLES)] | Literal["full"] = (
        _protocol(4)
    )
    batch_size: int | None = _protocol(None, ge=1, le=_MOST_SAMPLES)
    crop: tuple[_Side, _Side] | None = _protocol(None)
    flow_clip: float | None = _protocol(None, gt=0, le=_MOST_SINGLE)
    recal_mode: Literal["fixed", "random"] = _protocol("fixed")
    frozen: _PathText = _protocol("", max_length=4095)
    # Of the dynamics, although scores decide: they end training.
    early_stop_patience: int = _dynamics(15, ge=1, le=_MOST_COUNT)
    early_stop_min_delta: float = _dynamics(0.002, ge=0, le=_MOST_SINGLE)


class CheckpointConfig(_Section):
    """Resuming and saving."""

    load_checkpoint: bool = _observation(False)
    resume_experiment_name: str = _fixed("")
    reset_early_stop_on_resume: bool = _dynamics(False)
    every_steps: int = _observation(0, ge=0, le=_MOST_COUNT)
    keep_latest: int = _observation(2, ge=0, le=_MOST_COUNT)


class ModelConfig(_Section):
    """The supernet: its skeleton and base width C (channels of the first layer)."""

    # EdgeFlowNAS's YAML does not say its skeleton; this is the one up to its commit 2ef204e.
    skeleton: Literal["full", "bilinear", "decoupled"] = _dynamics("full")
    width: int = _dynamics(32, ge=1, le=4096)


class WatchConfig(_Section):
    """What is checked while training runs, and whether a finding stops the run or warns."""

    finite: str = _fixed("stop")
    clip_counts: WatchMode = _observation("stop")
    batch_hashes: WatchMode = _observation("stop")
    fairness: WatchMode = _observation("stop")
    metric: WatchMode = _observation("stop")
    clip_saturation: WatchMode = _observation("warn")
    zero_flow: WatchMode = _observation("warn")


class GateConfig(_Section):
    """What a gate of this configuration must show."""

    # Ids of promises; none: all of the tier that is asked for.
    required: tuple[str, ...] = _observation(())


class Config(_Section):
    """The whole tree. Frozen: derive variants with :func:`with_overrides`."""

    runtime: RuntimeConfig = RuntimeConfig()
    train: TrainConfig = TrainConfig()
    data: DataConfig = DataConfig()
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    model: ModelConfig = ModelConfig()
    watch: WatchConfig = WatchConfig()
    gate: GateConfig = GateConfig()

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
