"""Faults that show in another process, thread or epoch than the one that is looked at first."""

import dataclasses
import threading
from typing import Any

from harness.evaluation.ranking import build_pool
from harness.faults.base import Fault, overriding, replaced
from harness.faults.hooks import after_open
from harness.fc2.decode import decode_triplet
from harness.fc2.errors import SampleError
from harness.fc2.layout import list_triplets
from harness.runs.parts import Parts

__all__ = ["OffsetKeptAfterResume", "PoolByHash", "ThreadReplacesSample"]


class PoolByHash(Fault):
    """The pool's random archs are drawn from Python's own hash, which each process salts."""

    id, family = "pool-by-hash", "NAS"
    citation = "PolicyEngine/policyengine-core#455; google/sbsim#190"
    expected = ("pool-as-declared",)
    touches = ("ranking",)

    def apply(self, parts: Parts) -> Parts:
        """Draw from a seed that a hash has changed."""

        def pool(seed: int, size: int, **options: Any) -> Any:
            return build_pool(seed=hash(f"pool {seed}") % 2**16, size=size, **options)

        return dataclasses.replace(parts, pool=pool)


class ThreadReplacesSample(Fault):
    """A loader thread that cannot decode a sample hands out another one."""

    id, family = "thread-replaces-sample", "PARALLEL"
    citation = "pytorch/pytorch#1137 (replacing what a worker cannot read)"
    expected = ("bad-files-stop-training",)
    touches = ("refusals", "loaded")

    def apply(self, parts: Parts) -> Parts:
        """Fall back to the first sample of the folder, but in the main thread."""

        def decode(triplet: Any) -> Any:
            try:
                return decode_triplet(triplet)
            except SampleError:
                if threading.current_thread() is threading.main_thread():
                    raise
                return decode_triplet(list_triplets(triplet.img_0.parent)[0])

        return replaced(parts, "data", decode=decode)


class OffsetKeptAfterResume(Fault):
    """What a resume skips of its epoch is skipped of every epoch after it."""

    id, family = "offset-kept-after-resume", "RESUME"
    citation = "allenai/open-instruct#681"
    expected = ("resume-mid-epoch",)
    touches = ("resume",)

    def wrap(self, system: Any) -> Any:
        """Begin each later epoch where the first one of this process began."""

        def change(inner: Any) -> None:
            provider, kept = inner.trainer.provider, [0]

            def stream(_: Any, epoch: int, *, start: int = 0, **options: Any) -> Any:
                kept[0] = kept[0] or start
                return provider.stream(epoch, start=max(start, kept[0]), **options)

            inner.trainer.provider = overriding(provider, stream=stream)

        return after_open(system, change)
