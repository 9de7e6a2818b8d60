"""The environment of this machine, line by line, and what differs from that of a run."""

from collections.abc import Iterator
from pathlib import Path

from harness.commands.common import ledger_file, read_run_ledger, say
from harness.environment import Environment
from harness.errors import InputError
from harness.records.environments import EnvironmentDifference, environment_difference
from harness.records.records import RunRecord

__all__ = ["last_opening", "tell_environment"]


def tell_environment(environment: Environment, opening: RunRecord | None) -> dict[str, object]:
    """Print an environment's record and, where a run is given, what differs from its attempt's.

    Returns
    -------
    dict
        The same for machines; ``differs`` is there where a run is given, empty if nothing does.
    """
    for line in environment.lines():
        say(f"      {line}")
    told: dict[str, object] = {"environment": environment.as_dict()}
    if opening is None:
        return told
    found = environment_difference(opening.environment, environment.as_dict())
    for line in _against(found, opening.attempt):
        say(line)
    differs = [str(change) for change in found.changed]
    return {**told, "differs": differs, "unnamed": list(found.unnamed)}


def last_opening(path: Path) -> RunRecord:
    """Return the first record of a run's last attempt.

    Raises
    ------
    InputError
        If there is no ledger, or no attempt in it.
    """
    file = ledger_file(path)
    found = [r for r in read_run_ledger(file).records if isinstance(r, RunRecord)]
    if not found:
        msg = f"{file}: no attempt of a run in it, nothing to compare with"
        raise InputError(msg)
    return found[-1]


def _against(found: EnvironmentDifference, attempt: int) -> Iterator[str]:
    """Yield, line by line, what differs from the environment of a run's attempt."""
    for change in found.changed:
        yield f"differs  {change.key}: attempt {attempt} had {change.old}, here {change.new}"
    if found.unnamed:
        yield f"note: {found.note(f'the record of attempt {attempt}')}"
    if not found.changed:
        yield f"same environment as attempt {attempt}" + (
            ", as far as it names it" if found.unnamed else ""
        )
