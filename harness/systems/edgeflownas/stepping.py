"""What a training loop does, seen in what its session is asked to run."""

from __future__ import annotations

from typing import Any

import numpy as np

from .frames import digest_batch, digest_texts

__all__ = ["StepWatcher", "arch_text"]


def arch_text(code: Any) -> str:
    """Return an arch code as a string of digits."""
    return "".join(str(int(option)) for option in code)


class StepWatcher:
    """Collects steps, clip checks, losses and rows from the runs of a session.

    Attributes
    ----------
    steps, checks, losses, norms, rows : list
        As the protocol's ``Training`` wants them.
    observe : bool
        Whether losses and norms are fetched beside what the trainer fetches.
    began : bool
        Whether an epoch is under way or just done.
    global_step : int
        Steps taken, those before a resume included.
    """

    def __init__(self, run: Any) -> None:
        self._run = run
        self.observe, self.began, self.global_step = True, False, 0
        self.epoch = self.step = 0
        self._open: list[dict[str, Any]] = []
        self._drawn, self._fed_otherwise = "", ""
        self._expected: tuple[Any, ...] = ()
        self._places: dict[str, int] = {}
        self.forget()

    def forget(self) -> None:
        """Drop what was collected."""
        self.steps: list[dict[str, Any]] = []
        self.checks: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.rows: list[dict[str, Any]] = []

    def begin_epoch(self, epoch: int) -> None:
        """Start to count an epoch's steps."""
        self.epoch, self.step, self.began = epoch, 0, True
        self._run.training_provider().listener = self._draw

    def _draw(self, batch: dict[str, Any]) -> None:
        transform = self._run.checkout.transforms.standardize_image_tensor
        self._drawn = batch["digest"]
        self._expected = transform(batch["frames"].astype(np.float32)), batch["flow"]
        self._places, self._fed_otherwise = {}, ""

    def __call__(self, run: Any, fetches: Any, feed: Any) -> Any:
        """Run what the trainer asked for, and what tells more about it."""
        flat = fetches if isinstance(fetches, (list, tuple)) else [fetches]
        handles = self._run.facts.handles
        if any(f is handles["accum_op"] for f in flat):
            return self._micro_batch(run, fetches, feed)
        if any(f is handles["apply_op"] for f in flat):
            return self._update(run, fetches, feed)
        return run(fetches, feed)

    def _micro_batch(self, run: Any, fetches: Any, feed: Any) -> Any:
        facts = self._run.facts
        per_micro = facts.position == "micro_step"
        extra = {"loss": facts.handles["loss"]}
        if per_micro:
            extra.update(before=facts.handles["global_grad_norm"], after=facts.after)
        found, seen = self._run_with(run, fetches, feed, extra)
        arch = arch_text(feed[facts.handles["arch_code_ph"]])
        self._compare(arch, feed[facts.handles["input_ph"]], feed[facts.handles["label_ph"]])
        self._open.append(dict(seen, arch=arch))
        if "loss" in seen:
            self.losses.append(float(seen["loss"]))
        self._check(seen)
        return found

    def _compare(self, arch: str, frames: Any, flow: Any) -> None:
        """Hold what is fed for an arch against the batch that was drawn, piece by piece."""
        start = self._places.get(arch, 0)
        piece = slice(start, start + len(frames))
        self._places[arch] = start + len(frames)
        drawn = [array[piece] for array in self._expected]
        if not all(map(np.array_equal, drawn, (frames, flow))) and not self._fed_otherwise:
            self._fed_otherwise = digest_batch([arch], [], np.asarray(frames), np.asarray(flow))

    def _batch_digest(self) -> str:
        """Return the digest of what was trained on: of the drawn batch, if all of it was fed."""
        whole = {len(self._expected[1])}
        if self._fed_otherwise or set(self._places.values()) != whole:
            return digest_texts([self._drawn, self._fed_otherwise, repr(self._places)])
        return self._drawn

    def _update(self, run: Any, fetches: Any, feed: Any) -> Any:
        facts = self._run.facts
        per_update = facts.position == "update"
        extra: dict[str, Any] = {}
        if per_update:
            extra.update(before=facts.handles["global_grad_norm"], after=facts.after)
        found, seen = self._run_with(run, fetches, feed, extra)
        self.global_step += 1
        self.step += 1
        checks = [seen] if per_update else self._open
        self._check(seen)
        if self.observe:
            self._record(checks, float(feed[facts.handles["lr_ph"]]))
        self._open = []
        return found

    def _run_with(self, run: Any, fetches: Any, feed: Any, extra: dict[str, Any]) -> Any:
        if not self.observe or not extra:
            return run(fetches, feed), {}
        return run([fetches, extra], feed)

    def _check(self, seen: dict[str, Any]) -> None:
        if "before" in seen:
            # A micro-step is checked before its update is counted.
            step = self.step if self._run.facts.position == "update" else self.step + 1
            self.checks.append(
                {
                    "epoch": self.epoch, "step": step, "before": float(seen["before"]),
                    "after": float(seen["after"]),
                }
            )  # fmt: skip

    def _record(self, checks: list[dict[str, Any]], lr: float) -> None:
        norms = [float(check["before"]) for check in checks]
        losses = [float(one["loss"]) for one in self._open]
        threshold = float(self._run.facts.handles.get("clip_norm", float("inf")))
        archs: list[str] = []
        for one in self._open:
            # The micro-batches of an arch follow one another.
            if not archs or archs[-1] != one["arch"]:
                archs.append(one["arch"])
        self.steps.append(
            {
                "epoch": self.epoch, "step": self.step, "archs": tuple(archs),
                "batch": self._batch_digest(), "lr": lr, "loss": sum(losses) / len(losses),
                "checks": len(norms), "clipped": sum(norm > threshold for norm in norms),
                "norm": max(norms),
            }
        )  # fmt: skip

    def end_epoch(self, saved: dict[str, Any]) -> None:
        """Keep the row that the trainer wrote for the epoch that ended."""
        if self.began and saved:
            row = dict(saved.get("extra_payload") or {})
            row = dict(row, **row.pop("row", {}))
            self.rows.append(
                dict(
                    row, epoch=self.epoch, global_step=saved["global_step"],
                    best=saved["best_metric"], seen=self._run.evaluation,
                )
            )  # fmt: skip
            self._run.evaluation = None
