"""BN recalibration: forward passes, whose updates are fetched in the mended version alone."""

import numpy as np
from PACKAGE.data.transforms_180x240 import standardize_image_tensor


def run_bn_recalibration_session(sess, forward_fetch, input_ph, label_ph, arch_code_ph,
                                 is_training_ph, batch_provider, arch_code, batch_size,
                                 recal_batches, statistics=None):  # fmt: skip
    """Run forward passes; with `statistics`, pool the batches' own and assign them."""
    seen = []
    for _ in range(recal_batches):
        frames, _, _, label = batch_provider.next_batch(batch_size=batch_size)
        feed = {
            input_ph: standardize_image_tensor(frames), label_ph: label, arch_code_ph: arch_code,
            is_training_ph: True,
        }  # fmt: skip
        if statistics is None:
            sess.run(forward_fetch, feed_dict=feed)
        else:
            fetches = [forward_fetch, [(mean, spread) for _, _, mean, spread in statistics]]
            seen.append(sess.run(fetches, feed_dict=feed)[1])
    for index, (mean, variance, _, _) in enumerate(statistics or ()):
        means, spreads = (np.float64([one[index][k] for one in seen]) for k in (0, 1))
        pooled = (spreads + np.square(means - means.mean(axis=0))).mean(axis=0)
        mean.load(means.mean(axis=0), sess)
        variance.load(pooled, sess)
    return {"bn_recal_batches": float(recal_batches)}
