"""What a run says, and the signal that asks it to stop at the next step."""

import signal

from harness.console import say

__all__ = ["StopFlag", "say"]


class StopFlag:
    """Set by SIGTERM or SIGUSR1; a SLURM job that is about to be killed sends either."""

    def __init__(self) -> None:
        self.raised = False

    def __enter__(self) -> "StopFlag":
        self._old = {s: signal.signal(s, self._raise) for s in (signal.SIGTERM, signal.SIGUSR1)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _raise(self, *_: object) -> None:
        self.raised = True

    def __call__(self) -> bool:
        """Return whether a stop was asked for."""
        return self.raised
