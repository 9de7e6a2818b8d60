"""Faults of loader threads and of batches that are cached on disk."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness.digest import digest_strings
from harness.faults.base import Fault, replaced
from harness.runs.parts import Parts

__all__ = ["BatchesAsCompleted", "CacheKeyedByName", "CacheKeyedByTime"]


class BatchesAsCompleted(Fault):
    """Loader threads hand over batches as they are completed, not in the order asked for."""

    id, family = "batches-as-completed", "PARALLEL"
    citation = "tensorflow/tensorflow#13932; tensorflow/tensorflow#34909"
    expected = ("drawn-as-served", "eval-order-fixed")
    touches = ("draws",)

    def apply(self, parts: Parts) -> Parts:
        """Let the first of each window be the slowest, and take what is there first."""

        def as_completed(function: Any, items: Any, *, workers: int, depth: int) -> Any:
            todo, width = list(items), depth + 1
            for start in range(0, len(todo), width):
                with ThreadPoolExecutor(max(workers, 1)) as pool:
                    window = todo[start : start + width]
                    first, *rest = [pool.submit(function, item) for item in window]
                    for future in rest:
                        yield future.result()
                    yield first.result()

        return replaced(parts, "data", ahead=as_completed)


class CacheKeyedByName(Fault):
    """Cached batches are found again by their files' names alone."""

    id, family = "cache-file-by-name", "CACHE"
    citation = "deepset-ai/FARM#222; huggingface/datasets#770"
    expected = ("cache-never-stale",)

    def apply(self, parts: Parts) -> Parts:
        """Take the path for the content."""
        return replaced(
            parts, "data", fingerprint=lambda triplet: digest_strings([str(triplet.img_0)])
        )


class CacheKeyedByTime(Fault):
    """Cached batches are found again by their files' names, sizes and times."""

    id, family = "cache-file-by-time", "CACHE"
    citation = "git/git Documentation/technical/racy-git (same size and time, other content)"
    expected = ("cache-never-stale",)

    def apply(self, parts: Parts) -> Parts:
        """Take what `stat` says for the content."""

        def fingerprint(triplet: Any) -> str:
            found = [path.stat() for path in (triplet.img_0, triplet.img_1, triplet.flow)]
            return digest_strings([f"{s.st_size} {s.st_mtime_ns}" for s in found])

        return replaced(parts, "data", fingerprint=fingerprint)
