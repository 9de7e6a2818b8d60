"""The evaluation outside of training: every arch starts from the statistics of the one before."""

import numpy as np
from PACKAGE.data.transforms_180x240 import standardize_image_tensor


def _run_eval_pool(sess, graph_obj, train_provider, val_provider, eval_pool, bn_recal_batches,
                   batch_size, eval_batches_per_arch):  # fmt: skip
    g, per_arch = graph_obj, []
    for arch in eval_pool:
        train_provider.reset_cursor(0)
        for _ in range(bn_recal_batches):
            frames = train_provider.next_batch(batch_size=batch_size)[0]
            feed = {g["input_ph"]: standardize_image_tensor(frames), g["arch_code_ph"]: arch}
            feed[g["is_training_ph"]] = True
            sess.run([g["pred_tensor"], g["bn_update_ops"]], feed_dict=feed)
        val_provider.reset_cursor(0)
        scores = []
        for _ in range(eval_batches_per_arch):
            frames, _, _, label = val_provider.next_batch(batch_size=batch_size)
            feed = {g["input_ph"]: standardize_image_tensor(frames), g["label_ph"]: label}
            feed.update({g["arch_code_ph"]: arch, g["is_training_ph"]: False})
            scores.append(float(sess.run(g["epe"], feed_dict=feed)))
        per_arch.append(float(np.mean(scores)))
    return {
        "mean_epe_12": float(np.mean(per_arch)), "std_epe_12": float(np.std(per_arch)),
        "per_arch_epe": per_arch,
    }  # fmt: skip
