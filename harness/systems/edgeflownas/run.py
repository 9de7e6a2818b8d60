"""One run of ``train_supernet``, held at the ends of epochs.

The loop is EdgeFlowNAS's own. It runs in a thread of its own, which waits whenever the epochs
asked for are done; between them the session, the providers and the generators can be looked at.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np

from .checkout import Checkout
from .errors import AbandonedRunError, CheckoutError
from .graph import GraphFacts, read_graph
from .lending import unwatched
from .providers import WatchedProvider, watched_provider
from .stepping import StepWatcher

__all__ = ["Graphs", "Run"]

# What a graph is fed with, or looped over: runs that differ in it alone share a graph.
_GRAPH_KEYS_LEFT_OUT = ("lr", "num_epochs", "steps_per_epoch", "epoch_mode", "batch_size",
                        "micro_batch_size", "train_sampling_mode", "train_crop_mode")  # fmt: skip


class Graphs:
    """Built graphs, by what went into them: building one takes ten seconds and more."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    def place(self, checkout: Checkout, config: dict[str, Any]) -> dict[str, Any]:
        """Return the slot of a configuration: its graph, and its facts once it is built."""
        train = {k: v for k, v in config["train"].items() if k not in _GRAPH_KEYS_LEFT_OUT}
        data = {k: v for k, v in config["data"].items() if not k.endswith(("_dir", "_path"))}
        key = repr((sorted(train.items()), sorted(data.items()), config["model"],
                    config["runtime"]["seed"]))  # fmt: skip
        if key not in self._kept:
            self._kept[key] = {"graph": checkout.tf.Graph(), "facts": None}
        return self._kept[key]  # type: ignore[no-any-return]


class Run:
    """A training run that can be held, looked at, evaluated and abandoned.

    Attributes
    ----------
    session : tf.Session
        Open from :meth:`start` to :meth:`abandon`, unless the trainer fails.
    facts : GraphFacts
        Of its graph.
    sampler : random.Random
        Draws the fair cycles.
    providers : list
        Of (split, mode, provider), in the order in which the trainer built them.
    saved : dict
        Arguments of the trainer's last call of ``save_checkpoint``.
    finished : int
        Epochs completed, those before a resume included.
    steps : StepWatcher
        What was trained.
    """

    def __init__(
        self, checkout: Checkout, graphs: Graphs, config: dict[str, Any], resume: str = ""
    ) -> None:
        self.checkout, self.config = checkout, _trainer_config(config)
        self.width, self.threads = int(config["model"]["width"]), int(config["runtime"]["threads"])
        self.place = graphs.place(checkout, config)
        self.folder = tempfile.mkdtemp(prefix="edgeflownas-")
        self._aim_at(resume)
        self.resumes = bool(resume)
        self._graphs = ExitStack()
        self._session: Any = None
        self.sampler: Any = None
        self.providers: list[Any] = []
        self.saved: dict[str, Any] = {}
        self.finished, self.start_step = 0, 0
        self.evaluate, self.evaluated = True, False
        self.evaluation: Any = None
        self.evaluation_seen: Callable[..., Any] | None = None
        self.steps = StepWatcher(self)
        self._target, self._ended, self._abandoned = 0, False, False
        self._error: BaseException | None = None
        # The trainer's thread and the caller's take turns: one of them always waits for the other.
        self._go, self._held = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._main, name="train_supernet", daemon=True)

    def _aim_at(self, resume: str) -> None:
        """Let the trainer write to a folder of ours, and resume from a copy of a checkpoint."""
        runtime, checkpoint = self.config["runtime"], self.config["checkpoint"]
        runtime["output_root"], runtime["experiment_name"] = self.folder, "run"
        checkpoint["load_checkpoint"] = bool(resume)
        checkpoint["resume_experiment_name"] = ""
        if resume and os.path.isdir(resume):
            shutil.copytree(resume, os.path.join(self.folder, "run"))

    @property
    def facts(self) -> GraphFacts:
        """What is in its graph."""
        return self.place["facts"]  # type: ignore[no-any-return]

    def start(self) -> None:
        """Run the trainer up to the start of its first epoch."""
        self._thread.start()
        self._wait()

    def advance(self, epochs: int) -> None:
        """Train until so many epochs are completed in all.

        Raises
        ------
        Exception
            Whatever the trainer raised.
        """
        self._require_whole()
        if self._ended or self.finished >= epochs:
            return
        self._target = epochs
        self._go.release()
        self._wait()

    def _wait(self) -> None:
        self._held.acquire()
        self._require_whole()

    def _require_whole(self) -> None:
        """Raise what the trainer raised: a run that failed can do nothing more."""
        if self._error is not None:
            raise self._error.with_traceback(None)

    @property
    def session(self) -> Any:
        """The trainer's session.

        Raises
        ------
        CheckoutError
            If it is closed: another run may use it now.
        """
        self._require_whole()
        if self._session is None:
            raise CheckoutError("the run is over and its session is closed")
        return self._session

    @property
    def over(self) -> bool:
        """Whether every epoch is completed."""
        return self.finished >= int(self.config["train"]["num_epochs"])

    def abandon(self) -> None:
        """End the thread wherever it is held, close the session and remove what was written."""
        self._abandoned = True
        if self._thread.is_alive():
            self._go.release()
            self._thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _main(self) -> None:
        self.checkout.bind(self)
        try:
            with ExitStack() as graphs:
                self._graphs = graphs
                graphs.enter_context(self.place["graph"].as_default())
                self.checkout.train_supernet(self.config)
        except AbandonedRunError:
            pass
        except BaseException as error:  # noqa: BLE001 -- raised again where it was asked for
            self._error = error
        finally:
            self._ended, self._session = True, None
            self.checkout.bind(None)
            self._held.release()

    def _hold(self) -> None:
        """Wait, in the trainer's thread, until more is asked for."""
        self._held.release()
        self._go.acquire()
        if self._abandoned:
            raise AbandonedRunError

    # What the trainer calls, in its thread.

    def on_epoch(self, _: Any, iterable: Any, *_args: Any, **_kwargs: Any) -> Any:
        """Hold before an epoch that was not asked for; then count its steps."""
        self.steps.end_epoch(self.saved)
        if self.steps.began:
            self.finished += 1
        if self.finished >= self._target:
            self._hold()
        self.steps.begin_epoch(self.finished + 1)
        return _Steps(iterable)

    def on_end(self) -> None:
        """Hold at the end of training, while the session is still open."""
        self.steps.end_epoch(self.saved)
        if self.steps.began:
            self.finished += 1
        self._ended = True
        self._hold()

    def on_evaluation(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as the trainer does, or not at all if none is wanted."""
        # Infinity is no improvement, so that an epoch without
        # an evaluation cannot become the best.
        if not self.evaluate:
            self.evaluation = None
            return {
                "mean_epe_12": float("inf"), "std_epe_12": 0.0, "per_arch_epe": [],
                "arch_ranking": [],
            }  # fmt: skip
        assert self.evaluation_seen is not None
        # What the evaluation runs is no step of training.
        watcher, self._session.watcher = self._session.watcher, None
        returned, self.evaluation = self.evaluation_seen(original, args, kwargs)
        self._session.watcher = watcher
        return returned

    def on_save(self, _: Any, *args: Any, **kwargs: Any) -> None:
        """Keep what the trainer wants to save; it is written when a checkpoint is asked for."""
        if args:
            raise CheckoutError(f"save_checkpoint was called with {args} plain arguments")
        # `best` is saved by the same function, and is not where the run stands.
        if "last" in os.path.basename(str(kwargs["path_prefix"])):
            self.saved = dict(kwargs)

    def on_restore(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """Note where a resumed run starts."""
        state = original(*args, **kwargs)
        self.finished = int(state.get("start_epoch", 1)) - 1
        self.start_step = int(state.get("global_step", 0))
        self.steps.global_step = self.start_step
        self.saved = {
            "epoch": self.finished, "metric": state.get("last_metric", float("inf")),
            "global_step": self.start_step,
            "best_metric": state.get("best_metric", float("inf")),
            "bad_epochs": state.get("bad_epochs", 0),
            "fairness_counts": state.get("fairness_counts", {}),
        }  # fmt: skip
        return state

    def on_provider(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """Watch a provider."""
        split, watched = watched_provider(self.checkout, self.config, original, args, kwargs)
        self.providers.append((split, kwargs.get("provider_mode", "train"), watched))
        return watched

    def on_prefetch(self, original: Any, provider: Any, **kwargs: Any) -> Any:
        """Let a provider's batches be drawn ahead by the checkout's own thread."""
        provider.prefetched(original, int(kwargs["prefetch_batches"]))
        return provider

    def on_graph(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the graph, or hand out the one that an equal run built.

        Initial weights follow from the global generators while a graph is built. A run that
        starts anew and comes with other states than the first gets a graph of its own.
        """
        drawn_from = repr((random.getstate(), np.random.get_state()))  # noqa: NPY002 -- what it draws from
        if self.place.setdefault("drawn_from", drawn_from) != drawn_from and not self.resumes:
            graph = self.checkout.tf.Graph()
            self.place = {"graph": graph, "facts": None}
            self._graphs.enter_context(graph.as_default())
        if self.place["facts"] is None:
            try:
                handles = original(*args, **kwargs)
            except (AttributeError, ImportError) as error:
                raise CheckoutError(
                    f"the graph cannot be built: {error}. EdgeFlowNAS uses tf.compat.v1.layers, "
                    "which needs tf-keras beside TensorFlow 2.16 and newer: install it into this "
                    "Python "
                    f"({sys.executable})"
                ) from error
            self.place["facts"] = read_graph(self.checkout.tf, self.place["graph"], handles)
        return self.facts.handles

    def on_model(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the network at the width that was asked for."""
        return original(*args, **dict(kwargs, init_neurons=self.width))

    def on_reset(self, _: Any) -> None:
        """Keep the graph: it is this run's alone, or was built for it."""

    def on_session(self, session: Any) -> None:
        """Watch the session that trains."""
        self._session = session
        session.watcher = self.steps

    def unwatched(self) -> AbstractContextManager[Any]:
        """Lend the session with nobody watching."""
        return unwatched(self.session)

    @property
    def provider_modes(self) -> bool:
        """Whether providers are built for training or for evaluation."""
        return any(mode == "eval" for _, mode, _ in self.providers)

    def training_provider(self) -> WatchedProvider:
        """Return the provider that training draws from."""
        return self._provider("train", first=True)

    def evaluation_providers(self) -> dict[str, WatchedProvider]:
        """Return the providers that the trainer hands to its evaluation.

        From commit 3261988 on those of mode ``eval``; before, the training provider itself and
        the one of the validation split.
        """
        return {split: self._provider(split, first=False) for split in ("train", "val")}

    def _provider(self, split: str, *, first: bool) -> WatchedProvider:
        found = [provider for name, _, provider in self.providers if name == split]
        if not found:
            raise CheckoutError(f"the trainer built no provider of split {split!r}")
        return found[0 if first else -1]  # type: ignore[no-any-return]


class _Steps:
    """Stands in for the trainer's progress bar."""

    def __init__(self, iterable: Any) -> None:
        self._iterable = iterable

    def __iter__(self) -> Any:
        return iter(self._iterable)

    def set_postfix(self, *args: Any, **kwargs: Any) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


def _trainer_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the sections that EdgeFlowNAS reads, without keys that have no value."""
    sections = ("runtime", "train", "data", "eval", "checkpoint")
    return {
        name: {key: value for key, value in config[name].items() if value is not None}
        for name in sections
    }
