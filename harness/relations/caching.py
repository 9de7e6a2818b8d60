"""A cache serves what the files hold now."""

from itertools import zip_longest

from harness.evidence.altering import Cached
from harness.relations.base import Outcome, Violation, outcome

__all__ = ["cache_is_never_stale"]


def cache_is_never_stale(evidence: Cached) -> Outcome:
    """Require a cache to serve what a decode serves, before and after a file has changed."""
    violations = []
    for what, wanted, served in (
        ("served again from the cache", evidence.first, evidence.again),
        ("served from the cache after a change", evidence.fresh, evidence.changed),
    ):
        violations += [
            Violation(f"eval batch {index} {what}", str(want), str(found))
            for index, (want, found) in enumerate(zip_longest(wanted, served, fillvalue="no batch"))
            if want != found
        ]
    if evidence.first and evidence.fresh == evidence.first:
        violations.append(Violation("eval batches of changed files", "another content", "the same"))
    seen = min(map(len, (evidence.first, evidence.again, evidence.changed, evidence.fresh)))
    figures = f"{seen} batches, one of them changed under the same name, size and time"
    return outcome(violations[:6], seen, figures)
