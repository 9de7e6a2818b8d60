"""Faults of what is written down: checkpoints of something else, a ledger of few digits."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from harness.faults.base import Fault, overriding, replaced
from harness.records.ledger import write_line
from harness.runs.parts import Parts
from harness.training.checkpoint import CheckpointError, state_digest
from harness.training.model import Supernet

__all__ = [
    "AveragesLeftAfterSave", "CountersUnverified", "LedgerOfSixDigits", "LoadedMomentsSavedAgain",
    "UnchangedByIsclose",
]  # fmt: skip


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


class CountersUnverified(Fault):
    """Digests vouch for the arrays of a checkpoint, and not for the counters beside them."""

    id, family = "counters-unverified", "RESUME"
    citation = "LMResiliency/lm-resiliency#78 (values that no checksum covers are loaded)"
    expected = ("checkpoint-verified",)
    touches = ("checkpoint", "resume", "kills")

    def wrap(self, system: Any) -> Any:
        """Vouch for whatever counters there are, where they alone are damaged."""

        def restore(inner: Any, path: str) -> None:
            try:
                inner.restore(path)
            except CheckpointError as error:
                if "counters are damaged" not in str(error):
                    raise
                with tempfile.TemporaryDirectory() as name:
                    inner.restore(str(_vouched_for(Path(path), Path(name) / Path(path).name)))

        return overriding(system, restore=restore)


def _vouched_for(path: Path, copy: Path) -> Path:
    """Return a copy of a checkpoint with the digest of what is in it."""
    shutil.copytree(path, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    with np.load(copy / "arrays.npz") as archive:
        manifest["digest"] = state_digest(dict(archive), manifest["progress"])
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy
