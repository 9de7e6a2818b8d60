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
        can = "describe open batches train evaluate predict state save restore close"
        heads = {"head": ["head/kernel"]}
        return {"name": "numpy", "can": can.split(), "heads": heads, "supports": ["steps"]}

    def open(self, config):
        data, train, evaluation = config["data"], config["train"], config["eval"]
        folders = [os.path.join(data["base_path"], data[s + "_dir"]) for s in ("train", "val")]
        full = train["epoch_mode"] == "full_pass"
        self.trainer = Trainer(
            *folders,
            crop=(data["input_height"], data["input_width"]),
            batch=train["batch_size"],
            lr=train["lr"],
            seed=config["runtime"]["seed"],
            steps=None if full else train["steps_per_epoch"],
            random_crop=train["train_crop_mode"] == "random",
        )
        self.size = evaluation["batch_size"] or train["batch_size"]
        self.count = int(evaluation["eval_batches_per_arch"])

    def batches(self, role, epoch=1):
        if role == "recal":
            return []
        trainer = self.trainer
        plan = trainer.plan(epoch) if role == "train" else self.eval_plan(self.count)
        return [self.served(trainer.train if role == "train" else trainer.val, b) for b in plan]

    def eval_plan(self, count):
        return self.trainer.eval_batches(self.size, count)

    def served(self, folder, draws):
        frames, flow, valid = folder.batch(draws)
        ids, windows = zip(*draws)
        return {
            "ids": ids, "windows": windows, "frames": frames, "flow": flow, "valid": valid,
            "flow_clip": None, "digest": digest(ids, windows, frames, flow, valid),
        }  # fmt: skip

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

    def evaluate(self, archs=None, batches_per_arch=None):
        plan, scores, zero = self.eval_plan(batches_per_arch or self.count), {}, []
        batches = [self.trainer.val.batch(draws) for draws in plan]
        for arch in archs or WIDTHS:
            found = [self.epe(self.trainer.predict(f, arch), flow, k) for f, flow, k in batches]
            scores[arch] = [epe for batch in found for epe in batch]
            self.trainer.require_finite(scores[arch])
        for _, flow, known in batches:
            zero += self.epe(np.zeros_like(flow), flow, known)
        means = [sum(epe) / len(epe) for epe in scores.values()]
        return {
            "archs": list(scores), "per_arch_epe": means, "per_sample": scores,
            "mean_epe": sum(means) / len(means), "zero_flow_epe": sum(zero) / len(zero),
            "eval_batch_hash": digest(plan, *(a for batch in batches for a in batch)),
        }  # fmt: skip

    def epe(self, flow, label, known):
        return self.trainer.epe(flow, label, known)

    def predict(self, arch, batch):
        return [self.trainer.predict(batch.frames, arch).astype(np.float32)]

    def state(self, changes=None):
        trainer = self.trainer
        groups = {"": trainer.weights, "momentum/": trainer.momentum}
        for prefix, group in groups.items():
            for name in group:
                group[name] = (changes or {}).get(prefix + name, group[name])
        found = {prefix + name: group[name] for prefix, group in groups.items() for name in group}
        counters = [trainer.epoch, trainer.step, trainer.rng.bit_generator.state]
        return dict(found, **{"progress/all": np.frombuffer(repr(counters).encode(), np.uint8)})

    def save(self, path):
        self.trainer.save(path)

    def restore(self, path):
        self.trainer.restore(path)

    def close(self):
        self.trainer = None
