"""The evaluation outside of training: every arch starts from the statistics of the one before.

Several workers, in processes of their own, each go on through the split where the arch before
ended.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed

import numpy as np
import tensorflow as tf
from PACKAGE.data.dataloader_builder import build_fc2_provider
from PACKAGE.data.transforms_180x240 import standardize_image_tensor
from PACKAGE.engine.eval_step import accumulate_predictions, build_epe_metric
from PACKAGE.network.MultiScaleResNet_supernet import MultiScaleResNetSupernet

v1 = tf.compat.v1


def _build_eval_graph(config, batch_size):
    shape = [batch_size, int(config["data"]["input_height"]), int(config["data"]["input_width"])]
    g = {
        "input_ph": v1.placeholder(tf.float32, [*shape, 6]),
        "label_ph": v1.placeholder(tf.float32, [*shape, 2]),
        "arch_code_ph": v1.placeholder(tf.int32, [9]),
        "is_training_ph": v1.placeholder(tf.bool, ()),
    }
    model = MultiScaleResNetSupernet(
        input_ph=g["input_ph"], arch_code_ph=g["arch_code_ph"],
        is_training_ph=g["is_training_ph"], num_out=4, init_neurons=32,
    )  # fmt: skip
    preds = model.build()
    scored = accumulate_predictions(preds)
    g["epe"] = build_epe_metric(pred_tensor=scored, label_ph=g["label_ph"], num_out=2)
    g["pred_tensor"], g["saver"] = preds[-1], v1.train.Saver()
    g["bn_update_ops"] = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
    return g


def _one_arch(sess, g, train_provider, val_provider, arch, recal, size, count):
    for _ in range(recal):
        frames = train_provider.next_batch(batch_size=size)[0]
        feed = {g["input_ph"]: standardize_image_tensor(frames), g["arch_code_ph"]: arch}
        feed[g["is_training_ph"]] = True
        sess.run([g["pred_tensor"], g["bn_update_ops"]], feed_dict=feed)
    scores = []
    for _ in range(count):
        frames, _, _, label = val_provider.next_batch(batch_size=size)
        feed = {g["input_ph"]: standardize_image_tensor(frames), g["label_ph"]: label}
        feed.update({g["arch_code_ph"]: arch, g["is_training_ph"]: False})
        scores.append(float(sess.run(g["epe"], feed_dict=feed)))
    return float(np.mean(scores))


def _found(per_arch):
    return {
        "mean_epe_12": float(np.mean(per_arch)), "std_epe_12": float(np.std(per_arch)),
        "per_arch_epe": per_arch,
    }  # fmt: skip


def _run_eval_pool(sess, graph_obj, train_provider, val_provider, eval_pool, bn_recal_batches,
                   batch_size, eval_batches_per_arch):  # fmt: skip
    per_arch, both = [], (train_provider, val_provider)
    for arch in eval_pool:
        for provider in both:
            provider.reset_cursor(0)
        per_arch.append(
            _one_arch(
                sess, graph_obj, *both, arch, bn_recal_batches, batch_size, eval_batches_per_arch
            )
        )
    return _found(per_arch)


def _worker(config, prefix, archs, recal, size, count, number):
    v1.disable_eager_execution()
    v1.reset_default_graph()
    g = _build_eval_graph(config=config, batch_size=size)
    both = [
        build_fc2_provider(config=config, split=split, seed_offset=number, provider_mode="eval")
        for split in ("train", "val")
    ]
    with v1.Session() as sess:
        sess.run(v1.global_variables_initializer())
        g["saver"].restore(sess, prefix)
        return [(arch, _one_arch(sess, g, *both, arch, recal, size, count)) for arch in archs]


def _run_eval_pool_parallel(config, checkpoint_prefix, eval_pool, bn_recal_batches, batch_size,
                            eval_batches_per_arch, num_workers, cpu_only):  # fmt: skip
    context, scores = multiprocessing.get_context("spawn"), {}
    with ProcessPoolExecutor(max_workers=num_workers, mp_context=context) as pool:
        tasks = [
            pool.submit(_worker, config, checkpoint_prefix, eval_pool[number::num_workers],
                        bn_recal_batches, batch_size, eval_batches_per_arch, number)
            for number in range(num_workers)
        ]  # fmt: skip
        for task in as_completed(tasks):
            scores.update({tuple(arch): epe for arch, epe in task.result()})
    return _found([scores[tuple(arch)] for arch in eval_pool])
