"""Finds and imports a checkout of EdgeFlowNAS, and puts observers around its functions.

Its package is called ``code`` in early versions, like a module of the standard library, and
``efnas`` later. Functions are looked up in modules when they are called, so wrapping them in
the trainer's module observes the real loop without a changed file.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import threading
import types
from typing import Any

from .errors import CheckoutError
from .sessions import Sessions

__all__ = ["Checkout", "load_checkout"]

_PACKAGES = ("efnas", "code")
_PREFETCH = "PrefetchBatchProvider"  # from supernet_trainer_v3 on
_OF_ONE_ARCH = "supernet_subnet_distribution"


class Checkout:
    """An imported checkout.

    Attributes
    ----------
    folder, package : str
        The folder that holds the package, and the package's name.
    tf : module
        Its TensorFlow.
    generation : str
        Suffix of the trainer's module: nothing, ``_v2`` or ``_v3``.
    trainer, recalibration, checkpoints, transforms : module
        ``engine.supernet_trainer``, ``engine.bn_recalibration``,
        ``engine.checkpoint_manager``, ``data.transforms_180x240``.
    reads : list of str
        Paths that the provider's OpenCV has read, newest last.
    imread : callable
        ``cv2.imread``, unobserved.
    """

    def __init__(self, folder: str, package: str, generation: str = "") -> None:
        self.folder, self.package, self.generation = folder, package, generation
        # Read when TensorFlow is imported: tf.compat.v1.layers need the legacy Keras.
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        sys.path.insert(0, folder)
        # `code` is the standard library's name too, and something may have imported that one.
        sys.modules.pop(package, None)
        self._import("")
        self.tf = _tensorflow()
        self.trainer = self._import("engine.supernet_trainer" + generation)
        self.checkpoints = self._import("engine.checkpoint_manager")
        self.transforms = self._import("data.transforms_180x240")
        self.reads: list[str] = []
        self.imread: Any = None
        self._runs = threading.local()
        self._wrap()

    @property
    def evaluation_parameters(self) -> list[str]:
        """Names of the parameters of ``_run_eval_epoch``."""
        return list(inspect.signature(self.run_eval_epoch).parameters)

    def provider_class(self) -> Any:
        """Return the class that serves FlyingChairs2."""
        return self._import("data.fc2_dataset").FC2BatchProvider

    @property
    def standalone(self) -> Any:
        """Its module ``nas.supernet_eval``, which evaluates outside of training."""
        return self._import("nas.supernet_eval")

    def blocks(self) -> list[Any]:
        """Return the blocks of a later generation's space, with a label of each option."""
        if not self.generation:
            return []
        found = self._import("nas.search_space" + self.generation).get_block_specs()
        return list(found)

    def evaluates_offline(self) -> bool:
        """Whether it has an evaluation of this generation's checkpoints outside of training."""
        script = _OF_ONE_ARCH + self.generation if self.generation else "supernet_eval"
        return os.path.isfile(os.path.join(self.folder, self.package, "nas", script + ".py"))

    def watched_standalone(self) -> Any:
        """Return its module ``nas.supernet_eval`` with observers around what it calls."""
        module = self.standalone
        if not hasattr(module, "build_eval_graph"):
            module.build_eval_graph = module._build_eval_graph
            for name, method in (
                ("_build_eval_graph", "on_eval_graph"), ("build_fc2_provider", "on_provider"),
                ("MultiScaleResNetSupernet", "on_model"),
            ):  # fmt: skip
                setattr(module, name, self._dispatch(getattr(module, name), method))
        return module

    def watched_one_arch(self) -> Any:
        """Return the script by which a later generation is searched, with observers around calls.

        Its ``nas.supernet_subnet_distribution_v2`` or ``_v3``.
        """
        module = self._import("nas." + _OF_ONE_ARCH + self.generation)
        setup = f"setup_supernet{self.generation}_eval_model"
        if not hasattr(getattr(module, setup), "__wrapped__"):
            network = self._import("network.MultiScaleResNet_supernet" + self.generation)
            for place, name, method in (
                (module, setup, "on_eval_model"), (module, "build_fc2_provider", "on_provider"),
                (module, _PREFETCH, "on_prefetch"),
                (network, "MultiScaleResNetSupernet" + self.generation[1:].upper(), "on_model"),
            ):  # fmt: skip
                if hasattr(place, name):
                    setattr(place, name, self._dispatch(getattr(place, name), method))
        return module

    @staticmethod
    def build_with_mode(
        build: Any, config: dict[str, Any], split: str, offset: int, mode: str
    ) -> Any:
        """Build a provider for training or for evaluation, where the version knows modes."""
        modes = "provider_mode" in inspect.signature(build).parameters
        with_mode = {"provider_mode": mode} if modes else {}
        return build(config=config, split=split, seed_offset=offset, **with_mode)

    def bind(self, run: Any) -> None:
        """Let what the trainer does in this thread be a run's."""
        self._runs.run = run

    def _run(self) -> Any:
        return getattr(self._runs, "run", None)

    def _import(self, module: str) -> Any:
        name = self.package + ("." + module if module else "")
        try:
            found = importlib.import_module(name)
        except ImportError as error:
            raise CheckoutError(
                f"cannot import {name} of the checkout {self.folder}: {error}. Install what it "
                f"needs into this Python ({sys.executable}): tensorflow, opencv-python, tqdm, and "
                "tf-keras from TensorFlow 2.16 on"
            ) from error
        where = os.path.realpath(str(getattr(found, "__file__", "")))
        if not where.startswith(os.path.realpath(self.folder) + os.sep):
            raise CheckoutError(
                f"{name} was imported from {where}, expected from the checkout {self.folder}: "
                "another package of that name was there first"
            )
        return found

    def _wrap(self) -> None:
        """Put observers around what the training loop calls."""
        trainer, v1 = self.trainer, self.tf.compat.v1
        self.train_supernet = trainer.train_supernet
        self.run_eval_epoch = trainer._run_eval_epoch
        self.build_provider = trainer.build_fc2_provider
        for name, method in (
            ("tqdm", "on_epoch"), ("_run_eval_epoch", "on_evaluation"),
            ("save_checkpoint", "on_save"), ("build_fc2_provider", "on_provider"),
            ("_build_graph", "on_graph"),
            ("MultiScaleResNetSupernet" + self.generation[1:].upper(), "on_model"),
            ("_try_restore_training_state", "on_restore"), (_PREFETCH, "on_prefetch"),
        ):  # fmt: skip
            if not hasattr(trainer, name) and name == _PREFETCH:
                continue
            if not hasattr(trainer, name):
                raise CheckoutError(
                    f"{trainer.__name__} has no {name}, expected the trainer that EdgeFlowNAS had "
                    "from commit 8f83824 on"
                )
            setattr(trainer, name, self._dispatch(getattr(trainer, name), method))
        # The generator of the fair cycles is a local of the training
        # loop: it is caught where it is made.
        trainer.random = _Generators(trainer.random, self)
        v1.reset_default_graph = self._dispatch(v1.reset_default_graph, "on_reset")
        v1.Session = Sessions(self.tf, v1.Session, self._run)
        self._watch_reads()

    def _dispatch(self, original: Any, method: str) -> Any:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            run = self._run()
            if run is None:
                return original(*args, **kwargs)
            return getattr(run, method)(original, *args, **kwargs)

        return call

    def _watch_reads(self) -> None:
        dataset = self._import("data.fc2_dataset")
        if dataset.cv2 is None:
            raise CheckoutError(
                "the checkout's provider cannot import cv2: install opencv-python into this "
                f"Python ({sys.executable})"
            )
        self.imread = dataset.cv2.imread
        # A copy, so that OpenCV stays as it is for whoever else reads with it.
        watched = types.SimpleNamespace(**vars(dataset.cv2))

        def imread(path: str, *args: Any) -> Any:
            self.reads.append(str(path))
            return self.imread(path, *args)

        watched.imread = imread
        dataset.cv2 = watched


class _Generators:
    """The module ``random`` with its new generators handed to the run that made them."""

    def __init__(self, module: Any, checkout: Checkout) -> None:
        self._module, self._checkout = module, checkout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def Random(self, *args: Any) -> Any:  # noqa: N802 -- the name it has in the module
        """Return a new generator."""
        made, run = self._module.Random(*args), self._checkout._run()
        if run is not None:
            run.sampler = made
        return made


def _tensorflow() -> Any:
    try:
        tf = importlib.import_module("tensorflow")
    except ImportError as error:
        raise CheckoutError(
            "EdgeFlowNAS needs TensorFlow, which this Python "
            f"({sys.executable}) does not have: {error}"
        ) from error
    tf.compat.v1.disable_eager_execution()
    return tf


_LOADED: dict[tuple[str, str], Checkout] = {}


def load_checkout(root: str, generation: str = "") -> Checkout:
    """Import the checkout at a folder, once per process.

    Parameters
    ----------
    root : str
        The repository's folder or its folder ``EdgeFlowNAS``.
    generation : str
        Suffix of the trainer's module.

    Raises
    ------
    CheckoutError
        If there is no trainer below, or it cannot be imported.
    """
    for folder in (root, os.path.join(root, "EdgeFlowNAS")):
        for package in _PACKAGES:
            engine = os.path.join(folder, package, "engine")
            if os.path.isfile(os.path.join(engine, "supernet_trainer.py")):
                _require_trainer(engine, generation)
                key = os.path.abspath(folder), generation
                if key not in _LOADED:
                    if _LOADED:
                        ((first, kind),) = _LOADED
                        raise CheckoutError(
                            f"{key[0]}, supernet_trainer{generation}: this process has imported "
                            f"{first}, supernet_trainer{kind}, and can import one alone: gate "
                            "each in a process of its own"
                        )
                    _LOADED[key] = Checkout(key[0], package, generation)
                return _LOADED[key]
    raise CheckoutError(
        f"--system-root {root}: expected a checkout of EdgeFlowNAS, that is a folder with "
        "code/engine/supernet_trainer.py or efnas/engine/supernet_trainer.py, or with a folder "
        "EdgeFlowNAS that has one; found neither"
    )


def _require_trainer(engine: str, generation: str) -> None:
    """Require a trainer of a generation, and name those that there are."""
    there = sorted(
        name[len("supernet_trainer") : -len(".py")]
        for name in os.listdir(engine)
        if name.startswith("supernet_trainer") and name.endswith(".py")
    )
    if generation not in there:
        systems = ", ".join("edgeflownas" + name.replace("_", "-") for name in there)
        raise CheckoutError(
            f"{engine} has no supernet_trainer{generation}.py; --system can be {systems} there"
        )
