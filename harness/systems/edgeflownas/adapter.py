"""EdgeFlowNAS behind the protocol of ``docs/your-trainer.md``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .checkout import Checkout, load_checkout
from .errors import CheckoutError, NotApplicableError
from .graph import (
    arrays_of_options,
    epe_epsilon,
    options_by_name,
    output_heads,
    skeleton,
    slots,
)
from .offline import OfflineEvaluation
from .one_arch import OneArchEvaluation
from .providers import WatchedProvider
from .rows import epoch_row
from .run import Graphs, Run
from .scoring import Evaluator, copied
from .serving import planned_sizes, training_batches
from .spaces import arrays_of_space, kernels_of_space
from .variables import progress, set_and_get, write_checkpoint
from .versions import probe, settings, version

__all__ = ["EdgeFlowNAS"]

_CALLS = (
    "describe", "open", "batches", "train", "evaluate", "recalibrate", "predict", "score",
    "state", "save", "restore", "close",
)  # fmt: skip
# Of the process and not of a system: a gate opens many, and a graph takes ten seconds and more.
_GRAPHS = Graphs()


class EdgeFlowNAS:
    """A checkout of EdgeFlowNAS as a system under test.

    Parameters
    ----------
    root : str
        The checkout.
    """

    generation = ""
    """Suffix of the trainer's module."""

    def __init__(self, root: str = "") -> None:
        if not root:
            raise CheckoutError("EdgeFlowNAS needs its checkout: name it with --system-root DIR")
        self.checkout: Checkout = load_checkout(root, self.generation)
        self._config: dict[str, Any] = {}
        self._run: Run | None = None

    # What it is.

    def describe(self) -> dict[str, Any]:
        """Return what this version is, can and cannot vary."""
        facts = self._run.facts if self._run is not None else probe(self.checkout, _GRAPHS)
        plan = skeleton(facts.graph, facts.variables)
        options, arrays = self._options(facts.variables, plan)
        return {
            "name": "EdgeFlowNAS",
            "version": version(self.checkout.folder),
            "can": _CALLS + ("evaluate_offline",) * self.checkout.evaluates_offline(),
            "heads": output_heads(facts.variables),
            "slots": slots(facts.variables),
            "options": options,
            "option_arrays": arrays if options else (),
            "supports": (),
            "whole_batches": True,  # its cursor starts again from the first sample
            "settings": settings(self.checkout, facts),
            "epe_epsilon": epe_epsilon(self.checkout.tf, facts.handles["epe"]),
            "statistics_kept": 0.9,  # `momentum` of every normalisation of its BaseLayers
        }

    def _options(self, variables: dict[str, Any], plan: str) -> tuple[Any, Any]:
        """Return the kernels, and the further arrays, of each block's options."""
        blocks = self.checkout.blocks()
        if blocks:
            kernels = kernels_of_space(variables, blocks)
            return kernels or (), arrays_of_space(variables, blocks)
        return options_by_name(variables, plan) or (), arrays_of_options(variables, plan)

    # From start to end.

    def open(self, config: dict[str, Any]) -> None:
        """Get ready to train from step 0.

        Raises
        ------
        NotApplicableError
            If the configuration asks for what this version does not have.
        """
        facts = probe(self.checkout, _GRAPHS)
        for key, only in settings(self.checkout, facts).items():
            section, name = key.split(".")
            asked = config[section].get(name, only)
            default = self._default(config, key) if only is None else only
            if asked not in (only, default):
                raise NotApplicableError(
                    f"{key} is {asked!r}, and this version of EdgeFlowNAS has {only!r} alone"
                )
        self._config = json.loads(json.dumps(config))
        train = self._config["train"]
        if not train.get("train_sampling_mode"):
            full = train.get("epoch_mode") == "full_pass"
            train["train_sampling_mode"] = "shuffle_no_replacement" if full else "random"
        if self.generation:
            # Of nine blocks by default, and read by these although nothing is distilled.
            train.get("distill", {}).pop("teacher_arch_code", None)
        self._begin("")

    @staticmethod
    def _default(config: dict[str, Any], key: str) -> Any:
        """Return what an evaluation key that is left out stands for."""
        if key == "eval.batch_size":
            return config["train"]["batch_size"]
        return [config["data"]["input_height"], config["data"]["input_width"]]

    def _begin(self, resume: str) -> None:
        self.close()
        run = Run(self.checkout, _GRAPHS, self._config, resume)
        run.evaluation_seen = self._watch_in_training
        self._run = run
        run.start()

    def _watch_in_training(self, original: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if args:
            raise CheckoutError(f"_run_eval_epoch was called with {args} plain arguments")
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
        self, epochs: int, evaluate: bool = True, observe: bool = True, steps: int | None = None
    ) -> dict[str, Any]:
        """Let ``train_supernet`` go on until `epochs` are completed."""
        if steps is not None:
            raise NotApplicableError(
                f"train_supernet stops at the end of an epoch only, not after {steps} steps"
            )
        run = self.run
        run.steps.forget()
        run.steps.observe, run.evaluate = observe, evaluate
        run.advance(epochs)
        train, watcher = self._config["train"], run.steps
        batch = int(train["batch_size"])
        return {
            "planned_sizes": tuple(planned_sizes(run, len(run.training_provider()))),
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

    def batches(self, role: str, epoch: int = 1) -> list[dict[str, Any]]:
        """Return what a provider serves; the run's own is left where it is."""
        if role == "train":
            return training_batches(self.checkout, self.run, epoch)
        seen = self._rehearsal()
        served: list[dict[str, Any]] = seen.batches["val" if role == "eval" else "train"]
        if role == "recal" and not served:
            raise NotApplicableError(
                "this version's evaluation normalises by the batch and recalibrates nothing"
            )
        return served

    # Evaluation.

    def evaluate(
        self, archs: Sequence[str] | None = None, batches_per_arch: int | None = None
    ) -> dict[str, Any]:
        """Score archs as the trainer's evaluation does, on its own providers."""
        run = self.run
        chosen = list(archs) if archs is not None else self._pool()
        arguments = self._arguments(chosen, self._providers(), batches_per_arch)
        evaluator = Evaluator(run)
        returned, seen = evaluator.watched(self._score_pool, arguments)
        return evaluator.record(returned, seen, chosen)

    def evaluate_offline(
        self, path: str, archs: Sequence[str] | None = None, batches_per_arch: int | None = None,
        workers: int = 1,
    ) -> dict[str, Any]:  # fmt: skip
        """Score archs of a checkpoint as the script does by which this generation is searched."""
        run = self.run
        chosen = list(archs) if archs is not None else self._pool()
        kind = OneArchEvaluation if self.generation else OfflineEvaluation
        offline = kind(self.checkout, run.config, width=run.width, threads=run.threads)
        count = batches_per_arch or self._config["eval"]["eval_batches_per_arch"]
        if count == "full":
            samples = len(self._providers()["val"])
            count = max(1, samples // int(self._config["train"]["batch_size"]))
        prefix = str(self.checkout.checkpoints.build_checkpoint_paths(path)["last"])
        codes = [[int(option) for option in arch] for arch in chosen]
        returned, seen = offline(prefix, codes, int(count), workers)
        return Evaluator(offline).record(returned, seen, chosen)

    def _score_pool(self, **arguments: Any) -> Any:
        """Score a pool with the function whose scores are asked for."""
        return self.checkout.run_eval_epoch(**arguments)

    def _providers(self) -> dict[str, WatchedProvider]:
        """Return the providers that an evaluation gets."""
        return self.run.evaluation_providers()

    def _pool(self) -> list[str]:
        build, nine = self.checkout.trainer.build_eval_pool, {"num_blocks": 9}
        pool = build(
            seed=int(self._config["runtime"]["seed"]),
            size=int(self._config["eval"]["eval_pool_size"]),
            # Spaces of later generations have a size of their own.
            **({} if self.generation else nine),
        )
        return ["".join(map(str, code)) for code in pool]

    def _arguments(
        self, archs: Sequence[str], providers: dict[str, WatchedProvider], count: int | None
    ) -> dict[str, Any]:
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
            # EdgeFlowNAS takes numbers alone. Whole batches: its
            # cursor would go on with the first sample.
            if asked == "full":
                asked = max(1, len(providers["val"]) // arguments["batch_size"])
            arguments["eval_batches_per_arch"] = int(asked)
        return arguments

    def _rehearsal(self, arch: str = "", *, frames: Any = None) -> Any:
        """Evaluate one arch on copies of the providers, for what is served and fed."""
        providers = copied(self._providers())
        arguments = self._arguments([arch or self._pool()[0]], providers, None)
        return Evaluator(self.run).watched(self._score_pool, arguments, frames=frames)[1]

    def recalibrate(self, arch: str, inputs: bool = False) -> dict[str, Any]:
        """Return the moving statistics after the evaluation's recalibration of an arch."""
        run = self.run
        arguments = self._arguments([arch], self._providers(), None)
        evaluator = Evaluator(run)
        _, seen = evaluator.watched(self._score_pool, arguments, inputs=inputs, statistics=True)
        if not seen.recal:
            raise NotApplicableError(
                "this version's evaluation normalises by the batch and recalibrates nothing"
            )
        stats = seen.stats[arch]
        units = [name[: -len("/moving_mean")] for name in stats if name.endswith("/moving_mean")]
        return {
            "arch": arch,
            "stats": {u: (stats[u + "/moving_mean"], stats[u + "/moving_variance"]) for u in units},
            "inputs": {unit: tuple(values) for unit, values in seen.inputs.items()},
            # Of this record nothing but the hash is read.
            "batch_hash": evaluator.record({"mean_epe_12": 0.0}, seen, [arch])[
                "bn_recal_batch_hash"
            ],
        }

    def predict(self, arch: str, batch: Any) -> list[Any]:
        """Return the three residual outputs at the moment at which evaluation scores an arch."""
        frames = np.asarray(batch.frames).astype(np.float32)
        frames = self.checkout.transforms.standardize_image_tensor(frames)
        outputs = self._rehearsal(arch, frames=frames).outputs[arch]
        return [np.asarray(output, np.float32) for output in outputs]

    def score(self, outputs: Sequence[Any], label: Any, valid: Any) -> Any:
        """Return the graph's metric of each sample; it knows no invalid pixels."""
        del valid
        arrays = [np.asarray(output, np.float32) for output in outputs]
        return np.asarray(Evaluator(self.run).score(arrays, np.asarray(label)), np.float64)

    # State.

    def state(self, changes: dict[str, Any] | None = None) -> dict[str, Any]:
        """Set variables, if any, and return all of them beside the counters and generators."""
        given = {n: v for n, v in (changes or {}).items() if not n.startswith("progress/")}
        return {**set_and_get(self.run, given), **progress(self.run)}

    def save(self, path: str) -> None:
        """Write a checkpoint with the trainer's own function, beside its run manifest."""
        write_checkpoint(self.checkout, self.run, path)

    def restore(self, path: str) -> None:
        """Start the trainer again with ``load_checkpoint``, from a copy of a checkpoint.

        Raises
        ------
        CheckoutError
            If the trainer cannot restore it; the copy's path is written as the original's.
        """
        try:
            self._begin(path)
        except Exception as error:
            copy = os.path.join(self.run.folder, "run")
            text = f"{type(error).__name__}: {error}".replace(copy, path)
            raise CheckoutError(text) from error
