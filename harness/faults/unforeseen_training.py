"""Faults of steps, arch cycles, checkpoints and logs, written without knowing the gate."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

import numpy as np
import tensorflow as tf

from harness.faults.base import Fault, replaced
from harness.records.ledger import write_line
from harness.runs.parts import Parts
from harness.streams import integer
from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS
from harness.training.adam import adam_step
from harness.training.fairness import fair_cycle
from harness.training.model import Supernet
from harness.training.step import StepOutcome, run_step

__all__ = [
    "AccumulatedInBfloat16", "AveragesLeftAfterSave", "CyclesOneStepLater",
    "LastBlockLags", "LedgerOfSixDigits", "LoadedMomentsSavedAgain", "NoOptionInItsPlace",
    "RateInHalf", "UnchangedByIsclose",
]  # fmt: skip


class CyclesOneStepLater(Fault):
    """The fair cycle is drawn by epoch + step: an epoch replays the one before, a step earlier."""

    id, family = "cycles-one-step-later", "NAS"
    citation = "facebookresearch/metaseq#65 (seed + epoch here, seed + updates there: offsets meet)"
    touches = ("drawn_together", "draws", "own_draws", "epoch_log")
    expected = ("cycles-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Add the epoch to the step."""

        def draw(*, seed: int, epoch: int, step: int) -> list[tuple[int, ...]]:
            return fair_cycle(seed=seed, epoch=0, step=epoch + step)

        return replaced(parts, "train", fair_cycle=draw)


class NoOptionInItsPlace(Fault):
    """The shuffle leaves out its own place: no option stays, 92 % of the archs never train."""

    id, family = "no-option-in-its-place", "NAS"
    citation = "dtao/lazy.js#142; proptest-rs/proptest#217 (swapped with j < i and not j <= i)"
    touches = ("drawn_together", "own_draws", "epoch_log")
    expected = ("cycles-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Shuffle by Sattolo's algorithm, which looks like that of Fisher and Yates."""

        def shuffled(seed: int, block: int, epoch: int, step: int) -> list[int]:
            order = list(range(NUM_OPTIONS))
            places = range(NUM_OPTIONS - 1, 0, -1)
            # Below i, where it must be below i + 1: every permutation is one cycle.
            drawn = integer(seed, f"train/cycle/{block}", epoch, step, below=tuple(places))
            for i, j in zip(places, drawn, strict=True):
                order[i], order[j] = order[j], order[i]
            return order

        def draw(*, seed: int, epoch: int, step: int) -> list[tuple[int, ...]]:
            orders = [shuffled(seed, block, epoch, step) for block in range(NUM_BLOCKS)]
            return [tuple(order[i] for order in orders) for i in range(NUM_OPTIONS)]

        return replaced(parts, "train", fair_cycle=draw)


class _StaleLastBlock:
    """A step's functions, of which the gradient's last block switches one call late."""

    def __init__(self, functions: Any) -> None:
        self._functions = functions
        self._last: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._functions, name)

    def gradient(self, code: Any, *arrays: Any) -> Any:
        """Run with the last block's option of the call before."""
        ran = code if self._last is None else tf.concat([code[:-1], self._last], 0)
        self._last = code[-1:]
        return self._functions.gradient(ran, *arrays)


class LastBlockLags(Fault):
    """An arch's first micro-batch still runs the last block's option of the step's arch before."""

    id, family = "last-block-lags", "NAS"
    citation = "open-mmlab/mmflow commit 607e1ed (#62) (a setting left from the call before)"
    touches = ("own_draws", "every_step", "update", "epoch_log", "loss")
    expected = ("loss-recomputed",)

    def apply(self, parts: Parts) -> Parts:
        """Switch the last block once the first micro-batch has run; a step starts as it should."""

        def step(
            step: Any, archs: Sequence[Sequence[int]], batch: Any, lr: float, taken: Any = None
        ) -> StepOutcome:
            functions = step._functions
            step._functions = _StaleLastBlock(functions)
            try:
                return run_step(step, archs, batch, lr, taken)
            finally:
                step._functions = functions

        return replaced(parts, "train", step=step)


class AccumulatedInBfloat16(Fault):
    """The gradients of micro-batches are added up in bfloat16."""

    id, family = "accumulated-in-bfloat16", "GRAD"
    citation = "deepspeedai/DeepSpeed#1800 (gradient accumulation in bf16)"
    touches = (
        "micro_batches", "step_arithmetic", "update", "every_step", "loss",
    )  # fmt: skip
    expected = ("accumulated-gradient",)

    def apply(self, parts: Parts) -> Parts:
        """Round the sum and what is added to it; the optimizer gets float32 again."""

        def accumulate(total: Sequence[Any], gradients: Sequence[Any], weight: Any) -> list[Any]:
            half = tf.bfloat16
            return [
                tf.cast(tf.cast(t, half) + tf.cast(weight * g, half), tf.float32)
                for t, g in zip(total, gradients, strict=True)
            ]

        return replaced(parts, "train", accumulate=accumulate)


class RateInHalf(Fault):
    """The optimizer keeps its rate in half precision; schedule and log have it whole."""

    id, family = "rate-in-half", "GRAD"
    citation = "tinygrad/tinygrad#4297 (optim.lr in half, which float32 weights are stepped with)"
    touches = ("update", "every_step", "step_arithmetic")
    expected = ("every-update-is-adam",)

    def apply(self, parts: Parts) -> Parts:
        """Round on the way into Adam: up to 0.05 % off, and in steps of 6e-8 at a cosine's end."""

        def apply(
            variables: Sequence[Any], first: Sequence[Any], second: Sequence[Any],
            powers: tuple[Any, Any], gradients: Sequence[Any], lr: Any,
        ) -> None:  # fmt: skip
            kept = tf.cast(tf.cast(lr, tf.float16), tf.float32)
            adam_step(variables, first, second, powers, gradients, kept)

        return replaced(parts, "train", apply=apply)


class AveragesLeftAfterSave(Fault):
    """A save swaps averaged weights in and not out again: from the second on, training has them."""

    id, family = "averages-left-after-save", "RESUME"
    citation = "harubaru/waifu-diffusion#31 (weights not restored after saving a checkpoint)"
    touches = ("checkpoint", "resume", "purity", "kept")
    expected = ("resume-exact",)

    def apply(self, parts: Parts) -> Parts:
        """Average over the saves so far; what is written is what was trained."""
        saves = 0
        mean: dict[str, Any] = {}

        def save(model: Supernet) -> dict[str, Any]:
            nonlocal saves
            state = model.get_state()
            saves += 1
            for name in model.weights:
                before = mean.get(name, np.zeros_like(state[name]))
                mean[name] = before + (state[name] - before) / np.float32(saves)
            model.assign(mean)
            return state

        return replaced(parts, "train", save=save)


class UnchangedByIsclose(Fault):
    """A later save writes anew the entries alone that np.isclose tells from those written last."""

    id, family = "unchanged-by-isclose", "RESUME"
    citation = "numpy/numpy#10161; BLAST-ImpactX/impactx#1581 (default tolerances hid a drift)"
    touches = ("checkpoint", "resume", "kills")
    expected = ("checkpoint-complete",)

    def apply(self, parts: Parts) -> Parts:
        """Save deltas: what has moved by less than 1e-8, as small second moments do, stays old."""
        written: dict[str, Any] = {}

        def save(model: Supernet) -> dict[str, Any]:
            for name, array in model.get_state().items():
                # Against the default tolerances, which are made for numbers of about 1.
                last = written.get(name, np.full_like(array, np.nan))
                written[name] = np.where(np.isclose(array, last), last, array)
            return dict(written)

        return replaced(parts, "train", save=save)


class LoadedMomentsSavedAgain(Fault):
    """What a resumed run saves of Adam's moments is what it had loaded, and not what it has now."""

    id, family = "loaded-moments-saved-again", "RESUME"
    citation = "davda54/sam#39 (after load_state_dict, state_dict is not the optimizer's any more)"
    touches = ("checkpoint", "resume", "kills")
    expected = ("resume-mid-epoch",)

    def apply(self, parts: Parts) -> Parts:
        """Keep the loaded moments: the run itself is right, and a second resume goes wrong."""
        loaded: dict[str, Any] = {}

        def restore(model: Supernet, state: Mapping[str, Any]) -> None:
            model.set_state(state)
            moments = ("adam/m/", "adam/v/")
            loaded.update({name: a for name, a in state.items() if name.startswith(moments)})

        def save(model: Supernet) -> dict[str, Any]:
            return {**model.get_state(), **loaded}

        return replaced(parts, "train", restore=restore, save=save)


class LedgerOfSixDigits(Fault):
    """The ledger's figures are written as %g: of each, six digits are left."""

    id, family = "ledger-of-six-digits", "METRIC"
    citation = "axolotl-ai-cloud/axolotl#3320 (metrics are rounded on their way into the log)"
    touches = ("epoch_log", "ledger", "clip_checks")
    expected = ("ledger-learning-rate",)

    def apply(self, parts: Parts) -> Parts:
        """Round losses, norms, rates and scores alike, so that rows still add up, nearly."""

        def rounded(value: Any) -> Any:
            if isinstance(value, float):
                return float(f"{value:g}")
            if isinstance(value, list):
                return [rounded(item) for item in value]
            return value

        def write(file: IO[str], line: str, *, sync: bool) -> None:
            record = json.loads(line)
            # The opening record holds the configuration, which is no figure.
            if record["kind"] != "run":
                record = {key: rounded(value) for key, value in record.items()}
            write_line(file, json.dumps(record, separators=(",", ":")), sync=sync)

        return replace(parts, write_line=write)
