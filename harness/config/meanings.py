"""What each key of the configuration does, in a sentence: for the reference and for editors."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from harness.config.tree import Config

__all__ = ["MEANINGS", "fields_of"]

_AS_SHIPPED = "EdgeFlowNAS's; its shipped value is read, and nothing follows from it"
_HANDED_ON = "EdgeFlowNAS's, from supernet_trainer_v3 on: handed on to it, not used here"
_STOPS = "`stop` ends the run with exit code 1, `warn` says so, `off` does not look"

MEANINGS: Mapping[str, str] = MappingProxyType({
    "runtime.experiment_name": "name of the run directory, where `--run` does not say it",
    "runtime.output_root": "folder of run directories, where `--run` does not say one",
    "runtime.seed": "seed of every random draw: initial weights, orders, crops, archs, pool",
    "runtime.threads": "threads of TensorFlow's operations",
    "runtime.onednn": "whether TensorFlow computes by oneDNN's kernels",
    "runtime.tf32": "whether a GPU may round factors to TensorFloat-32, 10 bits",
    "runtime.gpu_memory_mib": "most GPU memory that is taken, MiB; null: as much as is needed",
    "runtime.require_gpu": "refuse to run on the CPU",
    "runtime.score_on": "where scores are summed up: in NumPy (`host`), where outputs are "
    "(`device`), or there on a GPU alone (`auto`)",
    "runtime.cache_dir": "folder in which the next process finds decoded evaluation batches; "
    "empty: none",
    "runtime.cache_mib": "memory for decoded evaluation batches, MiB; the rest is in mapped files",
    "runtime.pictures": "samples of which each evaluation of a run keeps what its best and worst "
    "arch predict, beside its best and worst sample; 0: no pictures",
    "train.gpu_device": "which GPU; -1: the CPU; null: the first GPU if there is one",
    "train.num_epochs": "planned epochs; the learning rate falls over all of them",
    "train.epoch_mode": "an epoch is `steps_per_epoch` random batches, or one pass over the split",
    "train.steps_per_epoch": "steps of an epoch of `fixed_steps`",
    "train.train_sampling_mode": "how samples are drawn; follows from `epoch_mode` and must fit",
    "train.train_crop_mode": "crop window of training: drawn anew for each sample, or the centre",
    "train.batch_size": "samples of one update",
    "train.micro_batch_size": "samples whose gradients are computed at once and added up; null: "
    "all of the batch",
    "train.lr": "learning rate at the first step",
    "train.optimizer": "rule of the update",
    "train.lr_schedule": "how the learning rate falls",
    "train.weight_decay": "factor of half the sum of squares of all kernels, which is added to the "
    "loss",
    "train.grad_clip_global_norm": "global norm to which a longer gradient is shortened",
    "train.clip_position": "what is clipped: each gradient of a micro-batch, or their sum once per "
    "update",
    "train.supernet_mode": "how archs are drawn: in fair cycles, so that each option is trained "
    "equally often",
    "train.multi_gpu_mode": _AS_SHIPPED,
    "train.gpu_devices": _AS_SHIPPED,
    "train.uncertainty_type": "what the net's uncertainty outputs stand for",
    "train.fast_mode": _AS_SHIPPED,
    "train.distill.enabled": "distillation, which is not implemented",
    "train.distill.lambda": _AS_SHIPPED,
    "train.distill.teacher_type": _AS_SHIPPED,
    "train.distill.teacher_ckpt": _AS_SHIPPED,
    "train.distill.teacher_arch_code": _AS_SHIPPED,
    "train.distill.layer_weights": _AS_SHIPPED,
    "data.dataset": "format of the samples: FlyingChairs2",
    "data.base_path": "folder that holds both splits; `--fc2-root` overrides it",
    "data.train_dir": "folder of the training split, below `base_path`",
    "data.val_dir": "folder of the validation split, below `base_path`",
    "data.input_height": "height of the training crop, px",
    "data.input_width": "width of the training crop, px",
    "data.flow_channels": "components of a label",
    "data.flow_clip": "clip on each flow component of training labels, px; null: whole labels",
    "data.num_workers": "loader threads, of training and of fixed batches; 0: none",
    "data.prefetch_batches": "training batches that are decoded ahead of the one in use",
    "data.fc2_num_workers": _HANDED_ON,
    "data.fc2_eval_num_workers": _HANDED_ON,
    "data.eval_prefetch_batches": _HANDED_ON,
    "eval.eval_every_epoch": "an evaluation follows every so many epochs",
    "eval.eval_pool_size": "archs that are scored",
    "eval.bn_recal_batches": "R: batches from which BN statistics are computed anew for each arch",
    "eval.eval_batches_per_arch": "K: validation batches on which each arch is scored; `full`: the "
    "whole split",
    "eval.batch_size": "samples of a batch of evaluation and recalibration; null: as in training",
    "eval.crop": "centre window of evaluation, [height, width], px; null: the training crop's size",
    "eval.flow_clip": "clip on each flow component of evaluation labels, px; null: whole labels",
    "eval.recal_mode": "recalibration batches: the first R of training, or random ones, whose hash "
    "is recorded",
    "eval.frozen": "file of frozen batches (`harness freeze`) to evaluate on; empty: the data",
    "eval.early_stop_patience": "training ends after so many evaluations without improvement",
    "eval.early_stop_min_delta": "least fall of the pool's mean EPE that counts as one, px",
    "checkpoint.load_checkpoint": "resume, as `--resume` does",
    "checkpoint.resume_experiment_name": _AS_SHIPPED,
    "checkpoint.reset_early_stop_on_resume": "a resume counts evaluations without improvement anew",
    "checkpoint.every_steps": "a checkpoint within an epoch every so many steps; 0: none",
    "checkpoint.keep_latest": "newest checkpoints that are kept, beside the best and the last",
    "model.skeleton": "the supernet's skeleton",
    "model.width": "C: channels of the first layer",
    "watch.finite": "losses, norms and weights are finite",
    "watch.clip_counts": f"clip checks are those of the plan; {_STOPS}",
    "watch.batch_hashes": f"each evaluation has the batches of the first; {_STOPS}",
    "watch.fairness": f"options of a block are trained equally often; {_STOPS}",
    "watch.metric": f"scores move when weights do; {_STOPS}",
    "watch.clip_saturation": f"not every check is clipped; {_STOPS}",
    "watch.zero_flow": f"the pool beats an all-zero flow; {_STOPS}",
    "gate.required": "ids of the promises that a gate's verdict is about; none: all of the tier",
})  # fmt: skip
"""By key, as ``--set`` names it. In the unit that is named, if there is one."""


def fields_of(
    section: type[BaseModel] = Config, prefix: str = ""
) -> Iterator[tuple[str, type[BaseModel], FieldInfo]]:
    """Yield every key with the section that declares it and its declaration, in order."""
    for name, field in section.model_fields.items():
        key = prefix + (field.alias or name)
        if isinstance(field.default, BaseModel):
            yield from fields_of(type(field.default), f"{key}.")
        else:
            yield key, section, field
