"""EdgeFlowNAS behind the protocol of ``docs/your-trainer.md``."""

import json
import os
import shutil
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from .checkout import Checkout, load_checkout
from .errors import CheckoutError, NotApplicableError
from .graph import epe_epsilon, options_by_name, output_heads, skeleton, slots
from .providers import FLOW_CLIP, WatchedProvider
from .rows import epoch_row
from .run import Graphs, Run
from .scoring import Evaluator, copied

__all__ = ["EdgeFlowNAS"]

_CALLS = (
    "describe", "open", "batches", "train", "evaluate", "recalibrate", "predict", "score",
    "state", "save", "restore", "close",
)  # fmt: skip
_GRAPHS = Graphs()


class EdgeFlowNAS:
    """A checkout of EdgeFlowNAS as a system under test.

    Parameters
    ----------
    root : str
        The checkout.
    """

    def __init__(self, root: str = "") -> None:
        if not root:
            raise CheckoutError("EdgeFlowNAS needs its checkout: name it with --system-root DIR")
        self.checkout: Checkout = load_checkout(root)
        self._config: Dict[str, Any] = {}
        self._run: Optional[Run] = None

    # What it is.

    def describe(self) -> Dict[str, Any]:
        """Return what this version is, can and cannot vary."""
        facts = self._run.facts if self._run is not None else self._probe()
        plan = skeleton(facts.graph, facts.variables)
        return {
            "name": "EdgeFlowNAS",
            "version": _version(self.checkout.folder),
            "can": _CALLS,
            "heads": output_heads(facts.variables),
            "slots": slots(facts.variables),
            "options": options_by_name(facts.variables, plan) or (),
            "supports": (),
            "settings": self._settings(facts, plan),
            "epe_epsilon": epe_epsilon(self.checkout.tf, facts.handles["epe"]),
        }

    def _probe(self) -> Any:
        """Build the smallest graph, to see what this version is."""
        config: Dict[str, Any] = {
            "runtime": {"seed": 0, "threads": 1},
            "train": {"weight_decay": 4e-5, "grad_clip_global_norm": 5.0},
            "data": {
                "input_height": 16, "input_width": 32, "flow_channels": 2, "base_path": "",
                "train_dir": "", "val_dir": "",
            },
            "eval": {}, "checkpoint": {}, "model": {"width": 1},
        }  # fmt: skip
        run = Run(self.checkout, _GRAPHS, config)
        self.checkout.bind(run)
        try:
            with run.place["graph"].as_default():
                self.checkout.trainer._build_graph(run.config)
        finally:
            self.checkout.bind(None)
            run.abandon()
        return run.facts

    def _settings(self, facts: Any, plan: str) -> Dict[str, Any]:
        """Return the configuration keys that this version cannot vary, with their values."""
        found: Dict[str, Any] = {
            "model.skeleton": plan, "train.clip_position": facts.position,
            "data.flow_clip": FLOW_CLIP, "eval.flow_clip": FLOW_CLIP, "eval.batch_size": None,
            "eval.crop": None, "eval.recal_mode": "fixed",
        }  # fmt: skip
        if "eval_batches_per_arch" not in self.checkout.evaluation_parameters:
            found["eval.eval_batches_per_arch"] = 1
        if not hasattr(self.checkout.provider_class(), "start_epoch"):
            found.update(
                {
                    "train.epoch_mode": "fixed_steps", "train.train_sampling_mode": None,
                    "train.train_crop_mode": "random",
                }
            )  # fmt: skip
        return found

    # From start to end.

    def open(self, config: Dict[str, Any]) -> None:
        """Get ready to train from step 0.

        Raises
        ------
        NotApplicableError
            If the configuration asks for what this version does not have.
        """
        facts = self._probe()
        for key, only in self._settings(facts, skeleton(facts.graph, facts.variables)).items():
            section, name = key.split(".")
            asked = config[section].get(name, only)
            if asked != only:
                raise NotApplicableError(
                    "{} is {!r}, and this version of EdgeFlowNAS has {!r} alone".format(
                        key, asked, only
                    )
                )
        self._config = json.loads(json.dumps(config))
        train = self._config["train"]
        if not train.get("train_sampling_mode"):
            full = train.get("epoch_mode") == "full_pass"
            train["train_sampling_mode"] = "shuffle_no_replacement" if full else "random"
        self._begin("")

    def _begin(self, resume: str) -> None:
        self.close()
        run = Run(self.checkout, _GRAPHS, self._config, resume)
        run.evaluation_seen = self._watch_in_training
        self._run = run
        run.start()

    def _watch_in_training(self, original: Any, args: Any, kwargs: Dict[str, Any]) -> Any:
        if args:
            raise CheckoutError("_run_eval_epoch was called with {} plain arguments".format(args))
        run = self.run
        expected = run.evaluation_providers()
        if kwargs["train_provider"] is not expected["train"]:
            raise CheckoutError("the trainer evaluates with another training provider than known")
        returned, seen = Evaluator(run).watched(original, kwargs)
        archs = ["".join(map(str, code)) for code in kwargs["eval_pool"]]
        return returned, Evaluator(run).record(returned, seen, archs)

    @property
    def run(self) -> Run:
        """The open run."""
        if self._run is None:
            raise RuntimeError("the system is not open: call open(config) first")
        return self._run

    def close(self) -> None:
        """End the trainer's thread and close its session."""
        if self._run is not None:
            self._run.abandon()
        self._run = None

    # Training.

    def train(
        self, epochs: int, evaluate: bool = True, observe: bool = True, steps: Optional[int] = None
    ) -> Dict[str, Any]:
        """Let ``train_supernet`` go on until `epochs` are completed."""
        if steps is not None:
            raise NotApplicableError("train_supernet stops at the end of an epoch only")
        run = self.run
        run.steps.forget()
        run.steps.observe, run.evaluate = observe, evaluate
        run.advance(epochs)
        train, watcher = self._config["train"], run.steps
        batch = int(train["batch_size"])
        return {
            "planned_sizes": (batch,) * int(train["steps_per_epoch"]),
            "batch_size": batch,
            "micro_batch": int(train.get("micro_batch_size") or batch),
            "position": run.facts.position,
            "threshold": float(train["grad_clip_global_norm"]),
            "steps": tuple(watcher.steps) if observe else (),
            "epochs": tuple(map(epoch_row, watcher.rows)) if observe else (),
            "checks": tuple(watcher.checks),
            "losses": tuple(watcher.losses),
        }

    # Data.

    def batches(self, role: str, epoch: int = 1) -> List[Dict[str, Any]]:
        """Return what a provider serves; the run's own is left where it is."""
        if role == "train":
            return self._training_batches(epoch)
        seen = self._rehearsal()
        served: List[Dict[str, Any]] = seen.batches["val" if role == "eval" else "train"]
        if role == "recal" and not served:
            raise NotApplicableError(
                "this version's evaluation normalises by the batch and recalibrates nothing"
            )
        return served

    def _training_batches(self, epoch: int) -> List[Dict[str, Any]]:
        """Serve an epoch that is still to come, or one that is over, from its seed again."""
        run = self.run
        ahead = epoch - run.finished
        if ahead >= 1:
            provider = run.training_provider().copy()
            started = not run.steps.began or run.finished < int(self._config["train"]["num_epochs"])
        else:
            provider, started, ahead = self._new_provider(), False, epoch
        served: List[Dict[str, Any]] = []
        for number in range(ahead):
            if hasattr(provider.provider, "start_epoch") and not (started and number == 0):
                provider.provider.start_epoch(shuffle=True)
            served = [
                provider.describe(provider.provider.next_batch(batch_size=size))
                for size in self._planned(provider)
            ]
        return served

    def _planned(self, provider: WatchedProvider) -> List[int]:
        train = self._config["train"]
        size = int(train["batch_size"])
        if train.get("epoch_mode") == "full_pass":
            return [size] * -(-len(provider) // size)
        return [size] * int(train["steps_per_epoch"])

    def _new_provider(self) -> WatchedProvider:
        """Build the training provider once more, as the trainer does."""
        run, trainer = self.run, self.checkout.trainer
        self.checkout.bind(run)
        try:
            mode = run.providers[0][1]
            extra = {"provider_mode": mode} if len(run.providers) > 2 else {}
            built: WatchedProvider = trainer.build_fc2_provider(
                config=run.config, split="train", seed_offset=0, **extra
            )
            run.providers.pop()
        finally:
            self.checkout.bind(None)
        return built

    # Evaluation.

    def evaluate(
        self, archs: Optional[Sequence[str]] = None, batches_per_arch: Optional[int] = None
    ) -> Dict[str, Any]:
        """Score archs as the trainer's evaluation does, on its own providers."""
        run = self.run
        chosen = list(archs) if archs is not None else self._pool()
        arguments = self._arguments(chosen, run.evaluation_providers(), batches_per_arch)
        evaluator = Evaluator(run)
        returned, seen = evaluator.watched(self.checkout.run_eval_epoch, arguments)
        return evaluator.record(returned, seen, chosen)

    def _pool(self) -> List[str]:
        pool = self.checkout.trainer.build_eval_pool(
            seed=int(self._config["runtime"]["seed"]),
            size=int(self._config["eval"]["eval_pool_size"]),
            num_blocks=9,
        )
        return ["".join(map(str, code)) for code in pool]

    def _arguments(
        self, archs: Sequence[str], providers: Dict[str, WatchedProvider], count: Optional[int]
    ) -> Dict[str, Any]:
        """Return what the trainer passes to its evaluation."""
        evaluation, run = self._config["eval"], self.run
        arguments = {
            "sess": run.session, "graph_obj": run.facts.handles,
            "train_provider": providers["train"], "val_provider": providers["val"],
            "eval_pool": [[int(option) for option in arch] for arch in archs],
            "bn_recal_batches": int(evaluation["bn_recal_batches"]),
            "batch_size": int(self._config["train"]["batch_size"]),
        }  # fmt: skip
        if "eval_batches_per_arch" in self.checkout.evaluation_parameters:
            asked = count or evaluation["eval_batches_per_arch"]
            if asked == "full":
                asked = max(1, len(providers["val"]) // arguments["batch_size"])
            arguments["eval_batches_per_arch"] = int(asked)
        return arguments

    def _rehearsal(self, arch: str = "", *, inputs: bool = False) -> Any:
        """Evaluate one arch on copies of the providers, for what is served and fed."""
        providers = copied(self.run.evaluation_providers())
        assert providers is not None
        arguments = self._arguments([arch or self._pool()[0]], providers, None)
        return Evaluator(self.run).watched(
            self.checkout.run_eval_epoch, arguments, inputs=inputs, statistics=True
        )[1]

    def recalibrate(self, arch: str, inputs: bool = False) -> Dict[str, Any]:
        """Return the moving statistics after the evaluation's recalibration of an arch."""
        run = self.run
        arguments = self._arguments([arch], run.evaluation_providers(), None)
        evaluator = Evaluator(run)
        _, seen = evaluator.watched(
            self.checkout.run_eval_epoch, arguments, inputs=inputs, statistics=True
        )
        if not seen.recal:
            raise NotApplicableError(
                "this version's evaluation normalises by the batch and recalibrates nothing"
            )
        stats = seen.stats[arch]
        units = [name[: -len("/moving_mean")] for name in stats if name.endswith("/moving_mean")]
        return {
            "arch": arch,
            "stats": {
                u: (stats[u + "/moving_mean"], stats[u + "/moving_variance"]) for u in units
            },
            "inputs": {unit: tuple(values) for unit, values in seen.inputs.items()},
            "batch_hash": evaluator.record({"mean_epe_12": 0.0}, seen, [arch])[
                "bn_recal_batch_hash"
            ],
        }

    def predict(self, arch: str, batch: Any) -> List[Any]:
        """Return the three residual outputs as evaluation computes them."""
        run = self.run
        seen = self._rehearsal(arch)
        handles = run.facts.handles
        frames = np.asarray(batch.frames).astype(np.float32)
        watcher, run.session.watcher = run.session.watcher, None
        try:
            found = run.session.run(
                list(handles["preds"]),
                {
                    handles["input_ph"]: self.checkout.transforms.standardize_image_tensor(frames),
                    handles["arch_code_ph"]: [int(option) for option in arch],
                    handles["is_training_ph"]: seen.flag,
                },
            )
        finally:
            run.session.watcher = watcher
        return [np.asarray(output, np.float32) for output in found]

    def score(self, outputs: Sequence[Any], label: Any, valid: Any) -> Any:
        """Return the graph's metric of each sample; it knows no invalid pixels."""
        del valid
        arrays = [np.asarray(output, np.float32) for output in outputs]
        return np.asarray(Evaluator(self.run).score(arrays, np.asarray(label)), np.float64)

    # State.

    def state(self, changes: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Set variables, if any, and return all of them beside the counters and generators."""
        run = self.run
        variables, session = run.facts.variables, run.session
        watcher, session.watcher = session.watcher, None
        try:
            known = {n: v for n, v in (changes or {}).items() if not n.startswith("progress/")}
            unknown = sorted(set(known) - set(variables))
            if unknown:
                raise KeyError("no variable {}, expected names of state()".format(unknown[0]))
            initializers = {name: variables[name].initializer for name in known}
            session.run(
                list(initializers.values()),
                {op.inputs[1]: known[name] for name, op in initializers.items()},
            )
            values = session.run(dict(variables), None)
        finally:
            session.watcher = watcher
        return dict(values, **self._progress())

    def _progress(self) -> Dict[str, Any]:
        run = self.run
        texts = {
            "epoch": repr(run.finished),
            "global_step": repr(run.steps.global_step),
            "best_metric": repr(run.saved.get("best_metric")),
            "bad_epochs": repr(run.saved.get("bad_epochs")),
            "fairness_counts": json.dumps(run.saved.get("fairness_counts"), sort_keys=True),
            "fair_cycle_generator": repr(run.sampler.getstate() if run.sampler else None),
        }
        for name, text in run.training_provider().counters().items():
            texts["train_provider_" + name] = text
        return {
            "progress/" + name: np.frombuffer(text.encode("utf-8"), np.uint8)
            for name, text in texts.items()
        }

    def save(self, path: str) -> None:
        """Write a checkpoint with the trainer's own function, beside its run manifest."""
        run = self.run
        os.makedirs(path)
        kept = {
            "epoch": run.finished, "metric": float("inf"),
            "global_step": run.steps.global_step, "best_metric": float("inf"), "bad_epochs": 0,
            "fairness_counts": {},
        }  # fmt: skip
        kept.update(run.saved)
        paths = self.checkout.checkpoints.build_checkpoint_paths(path)
        kept.update(
            sess=run.session, saver=run.facts.handles["saver"], path_prefix=paths["last"]
        )
        self.checkout.checkpoints.save_checkpoint(**kept)
        graph = str(paths["last"]) + ".meta"
        if os.path.exists(graph):
            os.remove(graph)  # the graph again, which no restoring reads
        manifest = os.path.join(run.folder, "run", "run_manifest.json")
        if os.path.exists(manifest):
            shutil.copy(manifest, path)

    def restore(self, path: str) -> None:
        """Start the trainer again with ``load_checkpoint``, from a copy of a checkpoint."""
        self._begin(path)


def _version(folder: str) -> str:
    """Return the checkout's commit if git tells, else nothing."""
    head = os.path.join(folder, os.pardir, ".git", "HEAD")
    if not os.path.exists(head):
        return ""
    with open(head, encoding="utf-8") as file:
        text = file.read().strip()
    if not text.startswith("ref: "):
        return text[:12]
    name = os.path.join(os.path.dirname(head), *text[5:].split("/"))
    if not os.path.exists(name):
        return ""
    with open(name, encoding="utf-8") as file:
        return file.read().strip()[:12]
