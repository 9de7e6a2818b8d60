"""Sessions that can be watched, and that outlive the run which opened them.

A session optimises each set of fetches once, which takes seconds; the trainer sets every
variable when it starts. So the next run on the same graph takes over the last one's session,
in the state that a new session would have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Sessions"]


class Sessions:
    """Stands in for ``tf.compat.v1.Session``: makes sessions, or hands one out again.

    Parameters
    ----------
    tf : module
        TensorFlow.
    base : type
        The session class that it stands in for.
    current : callable
        Returns the run of this thread, or None.
    """

    def __init__(self, tf: Any, base: Any, current: Callable[[], Any]) -> None:
        self._tf, self._base, self._current = tf, base, current
        self._watched = _watched_class(base)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return an open session; one without a run is an ordinary one."""
        run = self._current()
        if run is None:
            return self._base(*args, **kwargs)
        idle: list[Any] = run.place.setdefault("idle", [])
        if idle and not args and not kwargs:
            session = idle.pop()
        else:
            if not args:
                kwargs.setdefault("config", self._tf.compat.v1.ConfigProto())
                kwargs["config"].intra_op_parallelism_threads = run.threads
            session = self._watched(*args, **kwargs)
            session.reusable = not args and _seeded(run.place["graph"])
        session.taken_by(run)
        return session


def _seeded(graph: Any) -> bool:
    """Return whether every random op has a seed, so that new sessions all start alike.

    Stateless ops have theirs from when the graph was built, which a run on it is held to.
    """
    return all(
        any(op.get_attr(name) for name in ("seed", "seed2"))
        for op in graph.get_operations()
        if op.type.startswith(("Random", "TruncatedNormal", "ParameterizedTruncated"))
        and "seed" in op.node_def.attr
    )


def _watched_class(base: Any) -> Any:
    class WatchedSession(base):  # type: ignore[misc]
        """A session whose runs a watcher may look at and extend."""

        watcher: Any = None
        owner: Any = None
        reusable = False
        first: dict[str, Any] | None = None

        def taken_by(self, run: Any) -> None:
            """Belong to a run until it closes the session."""
            self.owner, self.began = run, False
            run.on_session(self)

        def run(self, fetches: Any, feed_dict: Any = None, *args: Any, **kwargs: Any) -> Any:
            if not self.began:
                return self._initialise(fetches, feed_dict)
            if self.watcher is None:
                return super().run(fetches, feed_dict, *args, **kwargs)
            return self.watcher(super().run, fetches, feed_dict)

        def _initialise(self, fetches: Any, feed_dict: Any) -> Any:
            """Run the initializer; a session that was used before draws no second start."""
            self.began = True
            facts = self.owner.facts
            if self.first is None:
                found = super().run(fetches, feed_dict)
                if self.reusable:
                    self.first = super().run(dict(facts.variables))
                return found
            initializers = {name: v.initializer for name, v in facts.variables.items()}
            # An initializer assigns its second input: fed with a
            # value, it needs no operation of its own.
            feed = {op.inputs[1]: self.first[name] for name, op in initializers.items()}
            super().run(list(initializers.values()), feed)
            return None

        def close(self) -> None:
            if self.reusable and self.owner is not None:
                self.owner.place["idle"].append(self)
                self.owner = self.watcher = None
            elif not self.reusable:
                super().close()

        def __exit__(self, kind: Any, *args: Any) -> Any:
            try:
                if self.owner is not None and kind is None:
                    self.owner.on_end()
            finally:
                super().__exit__(kind, *args)

    return WatchedSession
