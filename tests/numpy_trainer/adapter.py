"""The NumPy trainer behind the harness's protocol; see docs/your-trainer.md."""

import hashlib
import os

import numpy as np
from trainer import WIDTHS, Trainer


def digest(*parts):
    """Return a hex digest of arrays and of anything that repr tells apart."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        made.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return made.hexdigest()


class NumpySystem:
    def describe(self):
        can = "describe open evaluate state train save restore batches predict score close".split()
        # The trainer refuses what is not finite when it trains; a score is looked at below.
        own = {"supports": ["steps"], "finite_by_adapter": ["evaluate"]}
        return dict(own, name="numpy", can=can, heads={"h": ["head/kernel"]})

    def open(self, config):
        data, train, evaluation = config["data"], config["train"], config["eval"]
        self.trainer = Trainer(
            *(os.path.join(data["base_path"], data[key]) for key in ("train_dir", "val_dir")),
            crop=(data["input_height"], data["input_width"]), batch=train["batch_size"],
            lr=train["lr"], seed=config["runtime"]["seed"],
            steps=None if train["epoch_mode"] == "full_pass" else train["steps_per_epoch"],
            random_crop=train["train_crop_mode"] == "random",
        )  # fmt: skip
        size = evaluation["batch_size"] or train["batch_size"]
        self.plan = self.trainer.eval_batches(size, int(evaluation["eval_batches_per_arch"]))

    def evaluate(self, archs=None, batches_per_arch=None):
        plan, scores = self.plan[:batches_per_arch], {}
        batches = [self.trainer.val.batch(draws) for draws in plan]
        zero = [e for _, flow, known in batches for e in self.trainer.epe(0 * flow, flow, known)]
        for arch in archs or WIDTHS:
            pairs = [(self.trainer.predict(b[0], arch), b[1], b[2]) for b in batches]
            scores[arch] = [epe for pair in pairs for epe in self.trainer.epe(*pair)]
            self.trainer.require_finite(scores[arch])
        means = [float(np.mean(epe)) for epe in scores.values()]
        return {
            "archs": list(scores), "per_arch_epe": means, "per_sample": scores,
            "mean_epe": float(np.mean(means)), "zero_flow_epe": float(np.mean(zero)),
            "eval_batch_hash": digest(plan, *(array for batch in batches for array in batch)),
        }  # fmt: skip

    def state(self, changes=None):
        groups, found = {"": self.trainer.weights, "momentum/": self.trainer.momentum}, {}
        for prefix, group in groups.items():
            for name in group:
                group[name] = (changes or {}).get(prefix + name, group[name])
                found[prefix + name] = group[name]
        counters = [self.trainer.epoch, self.trainer.step, self.trainer.rng.bit_generator.state]
        return dict(found, **{"progress/all": np.frombuffer(repr(counters).encode(), np.uint8)})

    def train(self, epochs, evaluate=True, observe=True, steps=None):
        trainer, made = self.trainer, []
        while trainer.epoch < epochs and (steps is None or len(made) < steps):
            epoch, step = trainer.epoch + 1, trainer.step + 1
            draws, loss, norm = trainer.train_step()
            made.append({
                "epoch": epoch, "step": step, "archs": list(WIDTHS), "lr": trainer.lr,
                "batch": self.served(trainer.train, draws)["digest"], "loss": loss,
                "checks": 0, "clipped": 0, "norm": norm,
            })  # fmt: skip
            if trainer.step == 0 and evaluate:
                self.evaluate()
        return {"steps": made, "losses": [step["loss"] for step in made]}

    def save(self, path):
        self.trainer.save(path)

    def restore(self, path):
        self.trainer.restore(path)

    def batches(self, role, epoch=1):
        plans = {"train": self.trainer.plan(epoch), "eval": self.plan, "recal": []}
        folder = self.trainer.val if role == "eval" else self.trainer.train
        return [self.served(folder, draws) for draws in plans[role]]

    def served(self, folder, draws):
        (ids, windows), (frames, flow, valid) = zip(*draws), folder.batch(draws)
        return {
            "ids": ids, "windows": windows, "frames": frames, "flow": flow, "valid": valid,
            "flow_clip": None, "digest": digest(ids, windows, frames, flow, valid),
        }  # fmt: skip

    def predict(self, arch, batch):
        return [self.trainer.predict(batch.frames, arch).astype(np.float32)]

    def score(self, outputs, label, valid):
        return np.array(self.trainer.epe(outputs[-1][..., :2], label, valid))

    def close(self):
        self.trainer = None
