"""Evaluation by EdgeFlowNAS's own function, watched: batches, per-sample scores, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .frames import digest_texts
from .providers import WatchedProvider
from .stepping import arch_text

__all__ = ["Evaluator", "Seen", "copied", "listener"]


class Seen:
    """What one evaluation was seen to do.

    Attributes
    ----------
    archs : list of str
        In the order in which they were scored.
    samples, batch_epe : dict
        Arch to per-sample EPE and to each batch's reported EPE, px.
    val, recal : dict
        Arch to the digests of its evaluation and recalibration batches.
    batches : dict
        Digest to batch, of the first arch alone.
    inputs : dict
        Unit to its input in every recalibration batch, if asked for.
    stats : dict
        Arch to the moving statistics after its recalibration, by unit.
    outputs : dict
        Arch to its residual outputs for frames that were asked for.
    """

    def __init__(self) -> None:
        self.archs: list[str] = []
        self.samples: dict[str, list[float]] = {}
        self.batch_epe: dict[str, list[float]] = {}
        self.val: dict[str, list[str]] = {}
        self.recal: dict[str, list[str]] = {}
        self.batches: dict[str, list[Any]] = {"val": [], "train": []}
        self.labels: list[Any] = []
        self.inputs: dict[str, list[Any]] = {}
        self.stats: dict[str, Any] = {}
        self.outputs: dict[str, list[Any]] = {}


class Evaluator:
    """Runs ``_run_eval_epoch`` on a run's session and watches it.

    Parameters
    ----------
    run : Run
        Whose session, graph and providers.
    """

    def __init__(self, run: Any) -> None:
        self._run = run

    def score(self, outputs: Sequence[Any], label: Any) -> list[float]:
        """Return the metric of each sample for given residual outputs, px."""
        handles, found = self._run.facts.handles, []
        with self._run.unwatched() as session:
            # One at a time: the graph's metric is the mean over what it is fed with.
            for i in range(len(label)):
                feed = {p: o[i : i + 1] for p, o in zip(handles["preds"], outputs)}
                feed[handles["label_ph"]] = label[i : i + 1]
                found.append(float(session.run(handles["epe"], feed)))
        return found

    def watched(
        self, original: Any, arguments: dict[str, Any], *, inputs: bool = False,
        statistics: bool = False, frames: Any = None,
    ) -> Any:  # fmt: skip
        """Call the trainer's evaluation; return what it returned and a :class:`Seen`.

        Parameters
        ----------
        inputs, statistics : bool, default False
            Whether to keep each unit's inputs, and each arch's moving statistics.
        frames : numpy.ndarray, optional
            Network input (B, H, W, 6) to predict for each arch when it is first scored.
        """
        seen, session = Seen(), self._run.session
        providers = {"train": arguments["train_provider"], "val": arguments["val_provider"]}
        drawn: dict[str, Any] = {}
        listeners = {name: provider.listener for name, provider in providers.items()}
        for name, provider in providers.items():
            provider.listener = listener(drawn, name)
        watcher = session.watcher
        session.watcher = self._watcher(seen, drawn, inputs, statistics, frames)
        try:
            return original(**arguments), seen
        finally:
            session.watcher = watcher
            for name, provider in providers.items():
                provider.listener = listeners[name]

    def watching(self, seen: Seen, drawn: dict[str, Any]) -> Any:
        """Return what notes each score of an evaluation, and what it was fed with."""
        return self._watcher(seen, drawn, inputs=False, statistics=False, frames=None)

    def _watcher(
        self, seen: Seen, drawn: dict[str, Any], inputs: bool, statistics: bool, frames: Any
    ) -> Any:
        handles, facts = self._run.facts.handles, self._run.facts

        def watch(run: Any, fetches: Any, feed: Any) -> Any:
            if not feed or handles["arch_code_ph"] not in feed:
                return run(fetches, feed)
            arch = arch_text(feed[handles["arch_code_ph"]])
            if arch not in seen.archs:
                seen.archs.append(arch)
            if fetches is handles["epe"]:
                # Before the arch's first score: these are what its recalibration left.
                if statistics and arch not in seen.stats:
                    seen.stats[arch] = self._moving(run)
                if frames is not None and arch not in seen.outputs:
                    seen.outputs[arch] = run(
                        list(handles["preds"]), {**feed, handles["input_ph"]: frames}
                    )
                return self._scored(seen, drawn, arch, run, feed)
            seen.recal.setdefault(arch, []).append(drawn["train"]["digest"])
            if arch == seen.archs[0]:
                seen.batches["train"].append(drawn["train"])
            if not inputs:
                return run(fetches, feed)
            found, taps = run([fetches, facts.inputs], feed)
            for unit, value in taps.items():
                seen.inputs.setdefault(unit, []).append(value)
            return found

        return watch

    def _scored(self, seen: Seen, drawn: Any, arch: str, run: Any, feed: Any) -> Any:
        handles = self._run.facts.handles
        epe, outputs = run([handles["epe"], list(handles["preds"])], feed)
        label = feed[handles["label_ph"]]
        seen.val.setdefault(arch, []).append(drawn["val"]["digest"])
        seen.batch_epe.setdefault(arch, []).append(float(epe))
        seen.samples.setdefault(arch, []).extend(self.score(outputs, label))
        if arch == seen.archs[0]:
            seen.batches["val"].append(drawn["val"])
            seen.labels.append(label)
        return epe

    def _moving(self, run: Any) -> dict[str, Any]:
        wanted = {
            name: variable
            for name, variable in self._run.facts.variables.items()
            if name.endswith(("/moving_mean", "/moving_variance"))
        }
        return dict(run(wanted, None))

    def record(self, returned: dict[str, Any], seen: Seen, archs: Sequence[str]) -> dict[str, Any]:
        """Return an evaluation as the protocol's ``Evaluation``."""
        if "per_arch_epe" in returned:
            reported = list(returned["per_arch_epe"])
        else:  # before 3261988 it returned the mean alone
            reported = [float(np.mean(seen.batch_epe[arch])) for arch in archs]
        labels = np.concatenate(seen.labels)
        zero = np.hypot(labels[..., 0], labels[..., 1]).mean(axis=(1, 2), dtype=np.float64)
        return {
            "archs": tuple(archs),
            "per_arch_epe": tuple(map(float, reported)),
            "per_sample": {arch: tuple(seen.samples[arch]) for arch in archs},
            "mean_epe": float(returned["mean_epe_12"]),
            "zero_flow_epe": float(zero.mean()),
            "eval_batch_hash": _joined(seen.val),
            "bn_recal_batch_hash": _joined(seen.recal),
            "stats_digest": "",
        }


def listener(drawn: dict[str, Any], name: str) -> Any:
    """Return what keeps the batch that a provider served last, under a name."""

    def listen(batch: dict[str, Any]) -> None:
        drawn[name] = batch

    return listen


def _joined(digests: dict[str, list[str]]) -> str:
    """Return one digest for the batches of all archs: that of one arch's if all had the same."""
    different = {tuple(found) for found in digests.values()}
    if not different:
        return ""
    if len(different) == 1:
        return digest_texts(next(iter(different)))
    return digest_texts(text for arch in digests for text in (arch, *digests[arch]))


def copied(providers: dict[str, WatchedProvider]) -> dict[str, WatchedProvider]:
    """Return copies that serve what the originals would serve next."""
    return {name: provider.copy() for name, provider in providers.items()}
