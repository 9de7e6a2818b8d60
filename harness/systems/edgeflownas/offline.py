"""``nas.supernet_eval``, by which EdgeFlowNAS evaluates checkpoints, by one worker or several.

Its own functions run in this process: a worker's too, one after another, each with a session of
its own that holds nothing but the checkpoint.
"""

from __future__ import annotations

import concurrent.futures
import inspect
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from .checkout import Checkout
from .errors import CheckoutError
from .lending import unwatched
from .providers import watched_provider
from .scoring import Evaluator, Seen, listener

__all__ = ["OfflineEvaluation", "ScoringGraph"]

_SEEDS = {"train": 0, "val": 999}
"""Added to the seed by ``nas.supernet_eval.main`` where there is one worker."""

# Of the process: building a graph takes seconds, and its weights are a checkpoint's each time.
_BUILT: dict[Any, dict[str, Any]] = {}


class ScoringGraph:
    """A graph of the evaluation, as what watches a session wants it."""

    def __init__(self, tf: Any, graph: Any, handles: dict[str, Any]) -> None:
        self.graph, self.handles = graph, handles
        self.inputs: dict[str, Any] = {}
        found = graph.get_collection(tf.compat.v1.GraphKeys.GLOBAL_VARIABLES)
        self.variables = {variable.op.name: variable for variable in found}


class OfflineEvaluation:
    """One evaluation of a checkpoint; stands where a run stands while it is made.

    Parameters
    ----------
    config : dict
        As the trainer has it.
    width, threads : int
        Of the network, in channels of its first layer; of a session.
    """

    def __init__(
        self, checkout: Checkout, config: dict[str, Any], *, width: int, threads: int
    ) -> None:
        self.checkout, self.config = checkout, config
        self.width, self.threads = width, threads
        self.module = self._module()
        self.place: dict[str, Any] = {}
        self.seen, self._drawn = Seen(), dict[str, Any]()
        self._session: Any = None
        self._preds: Any = None
        self.sampler: Any = None

    def _module(self) -> Any:
        """Return the script's module, with observers around what it calls."""
        return self.checkout.watched_standalone()

    @property
    def facts(self) -> ScoringGraph:
        """The graph that scores."""
        return self.place["facts"]  # type: ignore[no-any-return]

    def __call__(
        self, prefix: str, pool: Sequence[Sequence[int]], batches: int | None, workers: int
    ) -> tuple[dict[str, Any], Seen]:
        """Score a pool with the checkpoint of a prefix; return what was returned and seen.

        Raises
        ------
        CheckoutError
            If there is no checkpoint.
        """
        if not os.path.isfile(prefix + ".index"):
            raise CheckoutError(f"there is no checkpoint {prefix}.index")
        evaluation, size = self.config["eval"], int(self.config["train"]["batch_size"])
        arguments = {
            "eval_pool": [list(code) for code in pool], "batch_size": size,
            "bn_recal_batches": int(evaluation["bn_recal_batches"]),
            "eval_batches_per_arch": batches,
        }  # fmt: skip
        self.checkout.bind(self)
        try:
            with self._graph().as_default():
                # As its main() decides it: more workers than archs are none.
                workers = min(workers, len(pool))
                one = workers <= 1
                returned = (
                    self._alone(prefix, arguments)
                    if one
                    else self._parallel(prefix, arguments, workers)
                )
        finally:
            self.checkout.bind(None)
        return returned, self.seen

    def _alone(self, prefix: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do what ``main`` does with one worker: one session for the whole pool."""
        v1, handles = self.checkout.tf.compat.v1, self.facts.handles
        providers = {
            split + "_provider": self.checkout.build_with_mode(
                self.module.build_fc2_provider, self.config, split, offset, "eval"
            )
            for split, offset in _SEEDS.items()
        }
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            handles["saver"].restore(session, prefix)
            return self._call(
                "_run_eval_pool", dict(arguments, sess=session, graph_obj=handles, **providers)
            )

    def _parallel(self, prefix: str, arguments: dict[str, Any], workers: int) -> dict[str, Any]:
        kept = self.module.ProcessPoolExecutor
        self.module.ProcessPoolExecutor = _InThisProcess
        try:
            return self._call(
                "_run_eval_pool_parallel",
                dict(
                    arguments,
                    config=self.config,
                    checkpoint_prefix=prefix,
                    num_workers=workers,
                    cpu_only=False,
                ),
            )
        finally:
            self.module.ProcessPoolExecutor = kept

    def _call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a function of the module with those of the arguments that it takes."""
        function = getattr(self.module, name)
        takes = inspect.signature(function).parameters
        found: dict[str, Any] = function(**{k: v for k, v in arguments.items() if k in takes})
        return found

    def _graph(self) -> Any:
        """Return the graph that the module builds; of any batch size, to score samples alone."""
        data, tf = self.config["data"], self.checkout.tf
        key = (self.width, int(data["input_height"]), int(data["input_width"]))
        if key not in _BUILT:
            graph = tf.Graph()
            with graph.as_default():
                handles = self.module.build_eval_graph(config=self.config, batch_size=None)
            _BUILT[key] = {"graph": graph}
            _BUILT[key]["facts"] = ScoringGraph(tf, graph, dict(handles, preds=list(self._preds)))
        self.place = _BUILT[key]
        return self.place["graph"]

    # What is called where a run would be.

    def on_eval_graph(self, _: Any, *_args: Any, **_kwargs: Any) -> dict[str, Any]:
        """Hand out the graph that is built already."""
        return self.facts.handles

    def on_model(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the network at the width that was asked for, and keep its outputs."""
        model = original(*args, **dict(kwargs, init_neurons=self.width))
        build = model.build

        def kept() -> Any:
            self._preds = build()
            return self._preds

        model.build = kept
        return model

    def on_reset(self, _: Any) -> None:
        """Keep the graph."""

    def on_provider(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """Watch a provider."""
        split, watched = watched_provider(self.checkout, self.config, original, args, kwargs)
        watched.listener = listener(self._drawn, split)
        return watched

    def on_session(self, session: Any) -> None:
        """Watch a session, one for each worker."""
        self._session = session
        session.watcher = Evaluator(self).watching(self.seen, self._drawn)

    def on_end(self) -> None:
        """Do nothing at the end of a session: nobody holds it."""

    def unwatched(self) -> AbstractContextManager[Any]:
        """Lend the session with nobody watching."""
        return unwatched(self._session)


class _InThisProcess:
    """Stands in for a pool of processes: each task is done when it is handed in."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __enter__(self) -> _InThisProcess:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def submit(self, function: Any, *args: Any) -> Any:
        """Return the finished future of a call."""
        future: Any = concurrent.futures.Future()
        try:
            future.set_result(function(*args))
        except Exception as error:  # noqa: BLE001 -- raised where its result is asked for
            future.set_exception(error)
        return future
