"""The training loop."""

import math
import random
from pathlib import Path

import numpy as np
import tensorflow as tf
from PACKAGE.data.dataloader_builder import build_fc2_provider
from PACKAGE.data.transforms_180x240 import standardize_image_tensor
from PACKAGE.engine.bn_recalibration import run_bn_recalibration_session
from PACKAGE.engine.checkpoint_manager import (
    build_checkpoint_paths,
    restore_checkpoint,
    save_checkpoint,
)
from PACKAGE.engine.eval_step import accumulate_predictions, build_epe_metric
from PACKAGE.history import (
    CLIP_PER_UPDATE,
    EVAL_BY_BATCH,
    EVAL_FIXED,
    FULL_PASS,
    GENERATORS_KEPT,
    METRIC_ACCUMULATED,
    RECAL_UPDATES,
)
from PACKAGE.nas.eval_pool_builder import build_eval_pool
from PACKAGE.nas.fair_sampler import generate_fair_cycle
from PACKAGE.network.MultiScaleResNet_supernet import MultiScaleResNetSupernet
from tqdm import tqdm

v1 = tf.compat.v1


def _loss(preds, label):
    total, loss = None, 0.0
    for pred, weight in zip(preds, (0.125, 0.25, 0.5)):
        size = pred.shape[1:3]
        total = pred if total is None else v1.image.resize_bilinear(total, size) + pred
        error = tf.abs(total[..., :2] - v1.image.resize_bilinear(label, size))
        sigma = tf.maximum(tf.nn.softplus(total[..., 2:] + 1e-3), 1e-3)
        spread = tf.reduce_mean(error / sigma) + tf.reduce_mean(tf.nn.softplus(total[..., 2:]))
        loss += weight * (tf.reduce_mean(error) + spread)
    return loss


def _build_graph(config):
    train, data = config["train"], config["data"]
    shape = [None, int(data["input_height"]), int(data["input_width"])]
    g = {
        "input_ph": v1.placeholder(tf.float32, [*shape, 6]),
        "label_ph": v1.placeholder(tf.float32, [*shape, 2]),
        "arch_code_ph": v1.placeholder(tf.int32, [9]),
        "is_training_ph": v1.placeholder(tf.bool, ()),
        "lr_ph": v1.placeholder(tf.float32, ()),
        "accum_divisor_ph": v1.placeholder(tf.float32, ()),
        "clip_norm": float(train["grad_clip_global_norm"]),
    }
    model = MultiScaleResNetSupernet(
        input_ph=g["input_ph"], arch_code_ph=g["arch_code_ph"],
        is_training_ph=g["is_training_ph"], num_out=4, init_neurons=32,
        seed=1000 * int(config["runtime"]["seed"]),
    )  # fmt: skip
    g["preds"], g["statistics"] = model.build(), model.statistics
    kernels = [v for v in v1.trainable_variables() if "kernel" in v.name]
    decay = float(train["weight_decay"]) * tf.add_n([tf.nn.l2_loss(v) for v in kernels])
    g["loss"] = _loss(g["preds"], g["label_ph"]) + decay
    optimizer = v1.train.AdamOptimizer(g["lr_ph"], 0.9, 0.999, 1e-8)
    pairs = optimizer.compute_gradients(g["loss"])
    grads, variables = zip(*pairs)
    if not CLIP_PER_UPDATE:
        grads, g["global_grad_norm"] = tf.clip_by_global_norm(grads, g["clip_norm"])
    sums = [
        v1.get_variable(f"strict_accum_{i}", v.shape, initializer=v1.zeros_initializer(),
                        trainable=False)
        for i, v in enumerate(variables)
    ]  # fmt: skip
    g["zero_ops"] = [v1.assign(total, tf.zeros_like(total)) for total in sums]
    adds = [v1.assign_add(total, grad) for total, grad in zip(sums, grads)]
    with tf.control_dependencies(adds + v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        g["accum_op"] = tf.no_op()
    means = [total / g["accum_divisor_ph"] for total in sums]
    if CLIP_PER_UPDATE:
        means, g["global_grad_norm"] = tf.clip_by_global_norm(means, g["clip_norm"])
    g["clip_trigger"] = tf.cast(g["global_grad_norm"] > g["clip_norm"], tf.int32)
    g["apply_op"] = optimizer.apply_gradients(list(zip(means, variables)))
    scored = accumulate_predictions(g["preds"]) if METRIC_ACCUMULATED else g["preds"][-1]
    g["epe"] = build_epe_metric(pred_tensor=scored, label_ph=g["label_ph"], num_out=2)
    g["saver"] = v1.train.Saver(max_to_keep=5)
    return g


def _score(sess, g, val_provider, arch_code, batch_size):
    frames, _, _, label = val_provider.next_batch(batch_size=batch_size)
    feed = {
        g["input_ph"]: standardize_image_tensor(frames), g["label_ph"]: label,
        g["arch_code_ph"]: arch_code, g["is_training_ph"]: EVAL_BY_BATCH,
    }  # fmt: skip
    return float(sess.run(g["epe"], feed_dict=feed))


def _recalibrate(sess, g, provider, arch_code, batch_size, recal_batches):
    if EVAL_BY_BATCH:
        return
    extra = {"statistics": g["statistics"]} if RECAL_UPDATES else {}
    run_bn_recalibration_session(
        sess=sess, forward_fetch=g["preds"][-1], input_ph=g["input_ph"], label_ph=g["label_ph"],
        arch_code_ph=g["arch_code_ph"], is_training_ph=g["is_training_ph"],
        batch_provider=provider, arch_code=arch_code, batch_size=batch_size,
        recal_batches=recal_batches, **extra,
    )  # fmt: skip


if EVAL_FIXED:

    def _run_eval_epoch(sess, graph_obj, train_provider, val_provider, eval_pool,
                        bn_recal_batches, batch_size, eval_batches_per_arch):  # fmt: skip
        kept = sess.run([pair[:2] for pair in graph_obj["statistics"]])
        per_arch = []
        for arch in eval_pool:
            train_provider.reset_cursor(0)
            _recalibrate(sess, graph_obj, train_provider, arch, batch_size, bn_recal_batches)
            val_provider.reset_cursor(0)
            scores = [
                _score(sess, graph_obj, val_provider, arch, batch_size)
                for _ in range(eval_batches_per_arch)
            ]
            per_arch.append(float(np.mean(scores)))
        for (mean, variance, _, _), values in zip(graph_obj["statistics"], kept):
            mean.load(values[0], sess)
            variance.load(values[1], sess)
        return {
            "mean_epe_12": float(np.mean(per_arch)), "std_epe_12": float(np.std(per_arch)),
            "per_arch_epe": per_arch,
        }  # fmt: skip

else:

    def _run_eval_epoch(sess, graph_obj, train_provider, val_provider, eval_pool,
                        bn_recal_batches, batch_size):  # fmt: skip
        scores = []
        for arch in eval_pool:
            _recalibrate(sess, graph_obj, train_provider, arch, batch_size, bn_recal_batches)
            scores.append(_score(sess, graph_obj, val_provider, arch, batch_size))
        return {"mean_epe_12": float(np.mean(scores)), "std_epe_12": float(np.std(scores))}


def _try_restore_training_state(sess, saver, config, experiment_dir, logger):
    state = {
        "start_epoch": 1, "global_step": 0, "best_metric": float("inf"), "bad_epochs": 0,
        "last_metric": float("inf"), "fairness_counts": {}, "generators": None,
    }  # fmt: skip
    prefix = build_checkpoint_paths(str(experiment_dir))["last"]
    if config["checkpoint"]["load_checkpoint"] and Path(f"{prefix}.index").exists():
        meta = restore_checkpoint(sess=sess, saver=saver, path_prefix=prefix)["meta"]
        state.update(
            start_epoch=meta["epoch"] + 1, global_step=meta["global_step"],
            best_metric=meta["best_metric"], bad_epochs=meta["bad_epochs"],
            last_metric=meta["metric"], generators=meta["extra"].get("generators"),
        )  # fmt: skip
    return state


def _providers(config):
    if not EVAL_FIXED:
        train = build_fc2_provider(config=config, split="train", seed_offset=0)
        return train, train, build_fc2_provider(config=config, split="val", seed_offset=999)
    return tuple(
        build_fc2_provider(config=config, split=split, seed_offset=offset, provider_mode=mode)
        for split, offset, mode in (
            ("train", 0, "train"), ("train", 1000, "eval"), ("val", 999, "eval"),
        )
    )  # fmt: skip


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _step(sess, g, batch, cycle, micro, lr):
    frames, label = standardize_image_tensor(batch[0]), batch[3]
    sess.run(g["zero_ops"])
    loss, norm, triggers, runs, total = 0.0, 0.0, 0, 0, len(label)
    for arch in cycle:
        for start in range(0, total, micro):
            feed = {
                g["input_ph"]: frames[start : start + micro],
                g["label_ph"]: label[start : start + micro],
                g["arch_code_ph"]: arch, g["is_training_ph"]: True, g["lr_ph"]: lr,
            }  # fmt: skip
            fetches = [g["loss"], g["accum_op"]]
            if not CLIP_PER_UPDATE:
                fetches += [g["global_grad_norm"], g["clip_trigger"]]
            loss, _, *clip = sess.run(fetches, feed_dict=feed)
            runs += 1
            if clip:
                norm, triggers = clip[0], triggers + int(clip[1])
    feed = {g["lr_ph"]: lr, g["accum_divisor_ph"]: float(runs)}
    if CLIP_PER_UPDATE:
        norm, triggers, _ = sess.run(
            [g["global_grad_norm"], g["clip_trigger"], g["apply_op"]], feed_dict=feed
        )
        runs = 1
    else:
        sess.run(g["apply_op"], feed_dict=feed)
    return float(loss), float(norm), int(triggers), runs


def train_supernet(config):
    """Train; every epoch is followed by an evaluation that is due and by a checkpoint."""
    v1.disable_eager_execution()
    v1.reset_default_graph()
    train, evaluation, seed = config["train"], config["eval"], int(config["runtime"]["seed"])
    folder = Path(config["runtime"]["output_root"]) / config["runtime"]["experiment_name"]
    size, epochs = int(train["batch_size"]), int(train["num_epochs"])
    micro = min(size, int(train.get("micro_batch_size") or size))
    train_provider, eval_train_provider, val_provider = _providers(config)
    steps = int(train["steps_per_epoch"])
    if FULL_PASS and train.get("epoch_mode") == "full_pass":
        steps = math.ceil(len(train_provider) / size)
    pool = build_eval_pool(seed=seed, size=int(evaluation["eval_pool_size"]), num_blocks=9)
    g = _build_graph(config=config)
    sampler = random.Random(seed)
    with v1.Session() as sess:
        sess.run(v1.global_variables_initializer())
        state = _try_restore_training_state(
            sess=sess, saver=g["saver"], config=config, experiment_dir=folder, logger=None
        )
        best, bad, step = state["best_metric"], state["bad_epochs"], state["global_step"]
        metric = state["last_metric"]
        if state.get("generators") and GENERATORS_KEPT:
            sampler.setstate(_tuples(state["generators"][0]))
            train_provider.rng.setstate(_tuples(state["generators"][1]))
        for epoch in range(state["start_epoch"], epochs + 1):
            generators = [sampler.getstate(), train_provider.rng.getstate()]
            if hasattr(train_provider, "start_epoch"):
                train_provider.start_epoch(shuffle=True)
            rows = []
            for _ in tqdm(range(steps), desc=f"train epoch {epoch}/{epochs}", leave=False):
                cycle = generate_fair_cycle(rng=sampler, num_blocks=9)
                batch = train_provider.next_batch(batch_size=size)
                lr = float(train["lr"]) * (1 + math.cos(math.pi * step / (steps * epochs))) / 2
                rows.append(_step(sess, g, batch, cycle, micro, lr))
                step += 1
            generators = [sampler.getstate(), train_provider.rng.getstate()]
            row = {
                "lr": lr, "fairness_gap": 0.0, "bn_recal_batches": evaluation["bn_recal_batches"],
                "train_loss_epoch_avg": float(np.mean([r[0] for r in rows])),
                "train_grad_norm_epoch_avg": float(np.mean([r[1] for r in rows])),
                "clip_trigger_count": sum(r[2] for r in rows),
                "clip_trigger_rate": sum(r[2] for r in rows) / sum(r[3] for r in rows),
            }  # fmt: skip
            if epoch % int(evaluation["eval_every_epoch"]) == 0:
                extra = {}
                if EVAL_FIXED:
                    extra["eval_batches_per_arch"] = int(evaluation["eval_batches_per_arch"])
                info = _run_eval_epoch(
                    sess=sess, graph_obj=g, train_provider=eval_train_provider,
                    val_provider=val_provider, eval_pool=pool,
                    bn_recal_batches=int(evaluation["bn_recal_batches"]), batch_size=size, **extra,
                )  # fmt: skip
                metric = info["mean_epe_12"]
                row.update(mean_epe_12=metric, std_epe_12=info["std_epe_12"])
                best, bad = (metric, 0) if metric < best else (best, bad + 1)
            save_checkpoint(
                sess=sess, saver=g["saver"],
                path_prefix=build_checkpoint_paths(str(folder))["last"], epoch=epoch,
                metric=metric, global_step=step, best_metric=best, bad_epochs=bad,
                fairness_counts={}, extra_payload={"row": row, "generators": generators},
            )  # fmt: skip
    return 0
