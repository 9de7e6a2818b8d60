"""A checkpoint as EdgeFlowNAS writes it, of a width and with numbers of our own."""

import json
import re
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from harness.config import parse_config
from harness.environment import apply_environment
from harness.supernet.import_names import source_names, state_shapes
from harness.supernet.space import SKELETONS

STEPS = 7
COUNTS = {str(b): {str(o): 20 + (b == 4 and o == 2) for o in range(3)} for b in range(9)}
META = {
    "checkpoint_path": "outputs/x", "epoch": 3, "metric": 7.5, "global_step": STEPS,
    "best_metric": 7.25, "bad_epochs": 2, "fairness_counts": COUNTS, "extra": {},
}  # fmt: skip


def tensorflow_and_reader():
    """Return TensorFlow, and the reader, imported once the environment is applied."""
    apply_environment(parse_config({}))
    import tensorflow

    from harness.training.importing import read_edgeflownas

    def read_here(prefix):
        reader = tensorflow.train.load_checkpoint(str(prefix))
        return {name: np.asarray(reader.get_tensor(name))
                for name in reader.get_variable_to_shape_map()}  # fmt: skip

    return SimpleNamespace(
        **vars(tensorflow), read_edgeflownas=read_edgeflownas,
        # Without a process for each of the many whole ones.
        read_whole=partial(read_edgeflownas, read=read_here),
    )  # fmt: skip


def variables(skeleton, width, *, slots=True, first=3):
    """Return random variables by EdgeFlowNAS's names, numbered from `first` on."""
    rng, number = np.random.default_rng(width), count(first)
    shapes = state_shapes(SKELETONS[skeleton], width)
    found, names = {}, source_names(SKELETONS[skeleton])
    for ours, pattern in names.items():
        theirs = re.sub("#", lambda _: str(next(number)), pattern)
        parts = [(theirs, ours)]
        if slots and "moving_" not in ours:
            parts += [(f"{theirs}/Adam", f"adam/m/{ours}"), (f"{theirs}/Adam_1", f"adam/v/{ours}")]
        for name, our_name in parts:
            found[name] = rng.uniform(0.1, 1, shapes[our_name]).astype(np.float32)
    if slots:
        found["beta1_power"] = np.float32(0.9 ** (STEPS + 1))
        found["beta2_power"] = np.float32(0.999 ** (STEPS + 1))
    return found | {"strict_accum_0": np.ones(2, "f4"), "strict_accum_1": np.ones((3, 1), "f4")}


def write(tf, folder, arrays, meta=META):
    """Write the files of a Saver and the meta file beside them; return their prefix."""
    prefix = folder / "supernet_best.ckpt"
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=list(arrays), shape_and_slices=[""] * len(arrays),
        tensors=[tf.constant(array) for array in arrays.values()],
    )  # fmt: skip
    Path(f"{prefix}.meta.json").write_text(json.dumps(meta))
    return prefix
