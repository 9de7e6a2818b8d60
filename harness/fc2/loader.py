"""Computing ahead of the consumer, by threads, with results in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import cv2

__all__ = ["in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, depth: int
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for each item, in the order of the items.

    The number of threads and the depth change when a result is computed, and nothing else: an
    item's error is raised where its result would have been, after all results before it. When
    the iterator is closed, what has not begun is cancelled and what runs is waited for, so
    that no thread is left.

    Parameters
    ----------
    function : callable
        Called in threads, so it must not depend on which of them calls it.
    items : iterable
        One for each result.
    workers : int
        Threads; 0 computes each result in the caller's thread when it is asked for.
    depth : int
        Results that are computed or being computed beyond the one last yielded. With 0, threads
        work only while the caller waits.
    """
    if workers == 0:
        yield from map(function, items)
        return
    remaining = iter(items)
    waiting: deque[Future[Result]] = deque()
    # OpenCV's own threads would fight ours.
    pool = ThreadPoolExecutor(workers, "loader", initializer=cv2.setNumThreads, initargs=(0,))
    try:
        while True:
            for item in islice(remaining, depth + 1 - len(waiting)):
                waiting.append(pool.submit(function, item))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
