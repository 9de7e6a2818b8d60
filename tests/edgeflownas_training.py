"""Trains with a checkout of EdgeFlowNAS, by its own ``train_supernet``: a process of its own.

``python edgeflownas_training.py CHECKOUT CONFIG.json``; the network's width is 4 from outside.
Where ``mended`` stands behind, the metric scores the accumulated flow.
"""

import importlib
import json
import os
import sys
from pathlib import Path


def main(checkout, config, *how):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    folder = Path(checkout) / "EdgeFlowNAS"
    package = "efnas" if (folder / "efnas").is_dir() else "code"
    sys.path.insert(0, str(folder))
    sys.modules.pop(package, None)  # the standard library has a module of that name
    trainer = importlib.import_module(f"{package}.engine.supernet_trainer")
    network = trainer.MultiScaleResNetSupernet
    trainer.MultiScaleResNetSupernet = lambda *args, **options: network(
        *args, **{**options, "init_neurons": 4}
    )
    if "mended" in how:
        _score_the_accumulated_flow(trainer)
    return trainer.train_supernet(json.loads(Path(config).read_text()))


def _score_the_accumulated_flow(trainer):
    import tensorflow as tf

    metric, kept = trainer.build_epe_metric, []
    loss = trainer.build_multiscale_uncertainty_loss

    def keep(preds, **options):
        kept[:] = preds
        return loss(preds=preds, **options)

    def accumulated(pred_tensor, **options):
        flow = kept[0]
        for finer in kept[1:]:
            size = [int(finer.shape[1]), int(finer.shape[2])]
            flow = tf.compat.v1.image.resize(flow, size=size) + finer
        return metric(pred_tensor=flow, **options)

    trainer.build_multiscale_uncertainty_loss = keep
    trainer.build_epe_metric = accumulated


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
