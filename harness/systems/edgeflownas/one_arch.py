"""``nas.supernet_subnet_distribution_v2`` and ``_v3``: one arch of a checkpoint in one process.

By these scripts EdgeFlowNAS searches the spaces of its later generations. Their own
``run_fixed_subnet_eval_v2`` or ``_v3`` runs here once for each arch. The graph and its session,
which each such process makes anew, are made once: the first thing that a call does is to restore
every variable of the checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

from .checkout import Checkout
from .errors import CheckoutError, NotApplicableError
from .offline import OfflineEvaluation, ScoringGraph
from .scoring import Evaluator, Seen

__all__ = ["OneArchEvaluation"]

_BUILT: dict[Any, dict[str, Any]] = {}
"""Of the process, as graphs are: by width and generation."""


class OneArchEvaluation(OfflineEvaluation):
    """One evaluation of a checkpoint, arch by arch; stands where a run stands while it is made.

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
        super().__init__(checkout, config, width=width, threads=threads)
        key = width, checkout.generation
        if key not in _BUILT:
            _BUILT[key] = {"graph": checkout.tf.Graph(), "facts": None}
        self.place = _BUILT[key]

    def _module(self) -> Any:
        return self.checkout.watched_one_arch()

    def __call__(
        self, prefix: str, pool: Sequence[Sequence[int]], batches: int | None, workers: int
    ) -> tuple[dict[str, Any], Seen]:
        """Score a pool with the checkpoint of a prefix; return what was returned and seen.

        Raises
        ------
        CheckoutError
            If there is no checkpoint.
        NotApplicableError
            If several workers are asked for, or the script can read no checkpoint of the trainer.
        """
        if workers > 1:
            msg = "one process scores one arch (--num_workers are threads that decode)"
            raise NotApplicableError(msg)
        if not os.path.isfile(prefix + ".index"):
            raise CheckoutError(f"there is no checkpoint {prefix}.index")
        folder = tempfile.mkdtemp(prefix="edgeflownas-one-arch-")
        self.checkout.bind(self)
        try:
            with self.place["graph"].as_default():
                scores = [self._of_arch(folder, prefix, code, batches) for code in pool]
        finally:
            self.checkout.bind(None)
            shutil.rmtree(folder, ignore_errors=True)
        return {"per_arch_epe": scores, "mean_epe_12": sum(scores) / len(scores)}, self.seen

    def _of_arch(self, folder: str, prefix: str, code: Sequence[int], batches: int | None) -> float:
        """Run the script's function with what its command line makes of such a call."""
        experiment = os.path.dirname(os.path.dirname(prefix))
        root, name = os.path.split(experiment)
        path = os.path.join(folder, "config.yaml")
        runtime = dict(self.config["runtime"], output_root=root, experiment_name=name)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(dict(self.config, runtime=runtime), file)  # which is YAML too
        given = ["--config", path, "--checkpoint_type", "last", "--output_dir", folder]
        given += ["--fixed_arch", ",".join(map(str, code))]
        if batches is not None:
            size = int(self.config["train"]["batch_size"])
            given += ["--max_fc2_val_samples", str(batches * size)]
        parser = self.module._build_parser()
        if "--experiment_dir" in parser.format_help():
            given += ["--experiment_dir", experiment]
        arguments = parser.parse_args(given)
        run = getattr(self.module, "run_fixed_subnet_eval" + self.checkout.generation)
        found = run(
            config_path=path, overrides=self.module._build_overrides(arguments), args=arguments
        )
        return float(found["fc2_epe"])

    def on_eval_model(self, original: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Build the graph and restore a checkpoint, or hand out what was built.

        Raises
        ------
        NotApplicableError
            If the checkpoint has none of the graph's variables.
        """
        prefix = str(
            self.checkout.checkpoints.build_checkpoint_paths(str(kwargs["experiment_dir"]))["last"]
        )
        if "model" not in self.place:
            self._require_its_variables(prefix)
            try:
                model = original(*args, **kwargs)
            except self.checkout.tf.errors.NotFoundError:
                self._require_its_variables(prefix)
                raise
            # The script closes the session, with which its process ends.
            model["sess"].close = lambda: None
            self.place["model"] = model
            self.place["facts"] = ScoringGraph(
                self.checkout.tf, self.place["graph"],
                dict(model, epe=model["epe_tensor"], preds=list(self._preds)),
            )  # fmt: skip
        model = dict(self.place["model"], checkpoint_path=prefix)
        self._session = model["sess"]
        self._session.watcher = Evaluator(self).watching(self.seen, self._drawn)
        return model

    def _require_its_variables(self, prefix: str) -> None:
        tf, graph = self.checkout.tf, self.place["graph"]
        built = graph.get_collection(tf.compat.v1.GraphKeys.GLOBAL_VARIABLES)
        names = {variable.op.name for variable in built}
        saved = {name for name, _ in tf.train.list_variables(prefix)} if names else set()
        if names and saved.isdisjoint(names):
            wanted, there = (
                min(n for n in some if n.endswith("/kernel")) for some in (names, saved)
            )
            raise NotApplicableError(
                f"this version's evaluator reads {wanted} and the like of a checkpoint, and the "
                f"trainer saves {there} and the like: it can read none of them"
            )

    def on_session(self, session: Any) -> None:
        """Take a session as it is: it is watched once the graph is known."""
        session.reusable = False

    def on_prefetch(self, original: Any, provider: Any, **kwargs: Any) -> Any:
        """Let a provider's batches be drawn ahead by the checkout's own thread."""
        provider.prefetched(original, int(kwargs["prefetch_batches"]))
        return provider
