"""Restores one checkpoint of the third generation for an evaluation, under a scope or none."""

import contextlib

import tensorflow as tf
from PACKAGE.engine.checkpoint_manager import build_checkpoint_paths
from PACKAGE.engine.eval_step import accumulate_predictions, build_epe_metric

v1 = tf.compat.v1
SCOPE = ""


def setup_supernet_v3_eval_model(experiment_dir, size, checkpoint_type="best"):
    """Return a session with a checkpoint restored, and what is fed and fetched."""
    from PACKAGE.network.MultiScaleResNet_supernet_v3 import MultiScaleResNetSupernetV3

    v1.reset_default_graph()
    prefix = str(build_checkpoint_paths(str(experiment_dir))[checkpoint_type])
    g = {
        "input_ph": v1.placeholder(tf.float32, [None, *size, 6]),
        "label_ph": v1.placeholder(tf.float32, [None, *size, 2]),
        "arch_code_ph": v1.placeholder(tf.int32, [9]),
        "is_training_ph": v1.placeholder_with_default(False, ()),
    }
    with v1.variable_scope(SCOPE) if SCOPE else contextlib.nullcontext():
        model = MultiScaleResNetSupernetV3(
            input_ph=g["input_ph"], arch_code_ph=g["arch_code_ph"],
            is_training_ph=g["is_training_ph"], num_out=4, init_neurons=32,
        )  # fmt: skip
        preds = model.build()
    scored = accumulate_predictions(preds)
    g["epe_tensor"] = build_epe_metric(pred_tensor=scored, label_ph=g["label_ph"], num_out=2)
    g["update_ops"], g["saver"] = v1.get_collection(v1.GraphKeys.UPDATE_OPS), v1.train.Saver()
    g["checkpoint_path"], g["sess"] = prefix, v1.Session(config=v1.ConfigProto())
    g["sess"].run(v1.global_variables_initializer())
    g["saver"].restore(g["sess"], prefix)
    return g
