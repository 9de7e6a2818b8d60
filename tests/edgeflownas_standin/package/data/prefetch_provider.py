"""Draws batches ahead in a thread, and does not stop where an epoch does."""

import queue
import threading


class PrefetchBatchProvider:
    """Wraps a provider."""

    def __init__(self, provider, prefetch_batches):
        self.provider, self._size = provider, prefetch_batches
        self._queue = self._stop = self._thread = None

    def __len__(self):
        return len(self.provider)

    def __getattr__(self, name):
        return getattr(self.provider, name)

    def _work(self, out, stop, size):
        while not stop.is_set():
            batch = self.provider.next_batch(batch_size=size)
            while not stop.is_set():
                try:
                    out.put(batch, timeout=0.02)
                    break
                except queue.Full:
                    continue

    def next_batch(self, batch_size):
        """Return what was drawn first of what is drawn ahead."""
        if self._thread is None:
            self._queue, self._stop = queue.Queue(self._size), threading.Event()
            given = (self._queue, self._stop, batch_size)
            self._thread = threading.Thread(target=self._work, args=given, daemon=True)
            self._thread.start()
        return self._queue.get()

    def start_epoch(self, shuffle=True):
        """Throw away what is drawn ahead, and draw the order of an epoch."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = self._queue = None
        return self.provider.start_epoch(shuffle=shuffle)
