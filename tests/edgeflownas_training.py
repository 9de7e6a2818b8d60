"""Trains with a checkout of EdgeFlowNAS, by its own ``train_supernet``: a process of its own.

``python edgeflownas_training.py CHECKOUT CONFIG.json``; the network's width is 4 from outside.
"""

import importlib
import json
import os
import sys
from pathlib import Path


def main(checkout, config):
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
    return trainer.train_supernet(json.loads(Path(config).read_text()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
