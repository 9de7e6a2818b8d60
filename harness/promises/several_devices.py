"""What cannot be judged of a training whose batches are shared out to several devices."""

from harness.errors import NotApplicableError

__all__ = ["BATCHES", "MICRO_BATCHES", "require_one_device", "several_devices"]


def several_devices(devices: int, what: str) -> str:
    """Return why something cannot be judged; nothing where there is one device.

    Parameters
    ----------
    devices : int
        As the system declares.
    what : str
        What each device has of its own.
    """
    if devices == 1:
        return ""
    return f"the system trains on {devices} devices (describe()['devices']): {what}"


def require_one_device(devices: int, what: str) -> None:
    """Require a training on one device.

    Raises
    ------
    NotApplicableError
        If there are several, with what each of them has of its own.
    """
    if reason := several_devices(devices, what):
        raise NotApplicableError(reason)


BATCHES = "each normalises by its share of a batch"
"""Of batch statistics."""

MICRO_BATCHES = "each cuts its share of a batch into micro-batches"
"""Of micro-batches."""
