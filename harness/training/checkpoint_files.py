"""One checkpoint on disk: its arrays and its manifest, each verified when it is loaded."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harness.archives import ArchiveError, OtherNamesError, open_archive
from harness.devices import read_regular
from harness.digest import digest_arrays, digest_strings
from harness.errors import plain_line
from harness.records.declared import check_declared
from harness.strict_json import parse_json
from harness.training.checkpoint_names import NAME, CheckpointError
from harness.wording import quoted

__all__ = [
    "FORMAT", "Checkpoint", "load_checkpoint", "read_manifest", "rest_digest", "state_digest",
]  # fmt: skip

FORMAT = 1

Array = NDArray[Any]


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes
    ----------
    path : pathlib.Path
        Its directory.
    arrays : dict of str to numpy.ndarray
        Every variable by name.
    progress : dict
        JSON-able counters (:class:`harness.training.progress.Progress`).
    meta : dict
        Configuration, environment and identity of the run that wrote it.
    digest : str
        Of arrays and counters.
    """

    path: Path
    arrays: dict[str, Array]
    progress: dict[str, Any]
    meta: dict[str, Any]
    digest: str


def state_digest(arrays: Mapping[str, Array], progress: Mapping[str, Any]) -> str:
    """Return the digest of a training state, without its wall-clock log row."""
    counters = {key: value for key, value in progress.items() if key != "row"}
    text = json.dumps(counters, sort_keys=True, allow_nan=False)
    return digest_strings([digest_arrays(arrays), text])


def load_checkpoint(path: Path) -> Checkpoint:
    """Load one checkpoint directory and verify the digest of everything in it.

    Raises
    ------
    CheckpointError
        If it is absent, incomplete, damaged or of an unknown format.
    """
    manifest = read_manifest(path)
    _require_own_name(path, manifest["progress"])
    recorded = manifest["arrays"]
    arrays = _read_arrays(path, recorded)
    # One by one, so that the damaged one is named.
    for name, array in arrays.items():
        found = digest_arrays({name: array})
        if found != recorded[name]:
            due = _shown(recorded[name])
            msg = f"{path}: {name} is damaged: expected digest {due}, found {found}"
            raise CheckpointError(msg)
    digest = state_digest(arrays, manifest["progress"])
    if digest != manifest["digest"]:
        due = _shown(manifest["digest"])
        msg = f"{path}: counters are damaged: expected digest {due}, found {digest}"
        raise CheckpointError(msg)
    return Checkpoint(path, arrays, manifest["progress"], manifest["meta"], digest)


def _require_own_name(path: Path, progress: Mapping[str, Any]) -> None:
    """Refuse a name of ours that says another place than the counters: a run goes by names."""
    match, at = NAME.fullmatch(path.name), (progress.get("epoch"), progress.get("step"))
    # Of counters that are not there, whoever needs them says so.
    if match is None or match["step"] is None or None in at:
        return
    if (int(match["epoch"]), int(match["step"])) == at:
        return
    msg = (
        f"{path}: its counters say epoch {quoted(at[0])}, step {quoted(at[1])}, expected those of "
        "its name: it was renamed; give it its name again"
    )
    raise CheckpointError(msg)


def _shown(digest: str) -> str:
    """Return a digest that a damaged file names as a message can hold it."""
    return quoted(digest)[1:-1]


def _read_arrays(path: Path, names: Iterable[str]) -> dict[str, Array]:
    """Read the arrays of a checkpoint, which are those of the manifest and no other."""
    file = path / "arrays.npz"
    try:
        with open_archive(file) as archive:
            archive.require_names(names, "manifest")
            return {name: archive.read(name) for name in names}
    except OtherNamesError as error:
        msg = f"{path}: {error}"
        raise CheckpointError(msg) from None
    except (ArchiveError, OSError) as error:
        msg = f"{file}: not readable: {plain_line(str(error))}"
        raise CheckpointError(msg) from error


@dataclass(frozen=True)
class _Manifest:
    """What lies beside the arrays of a checkpoint.

    Attributes
    ----------
    digest : str
        Of arrays and counters (:func:`state_digest`).
    arrays : dict of str to str
        Digest of each array.
    progress, meta : dict
        Counters, with the log's row, and where the checkpoint is from.
    rest : str
        Digest of what `digest` leaves out.
    """

    format: int
    digest: str
    progress: dict[str, Any]
    meta: dict[str, Any]
    arrays: dict[str, str]
    rest: str


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a checkpoint, and verify all of it but what names the arrays.

    Raises
    ------
    CheckpointError
        If it is absent, damaged or of an unknown format.
    """
    file = path / "manifest.json"
    try:
        manifest = parse_json(read_regular(file))
    except FileNotFoundError:
        msg = f"{path}: no checkpoint here (no manifest.json)"
        raise CheckpointError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{file}: damaged: {plain_line(str(error))}"
        raise CheckpointError(msg) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        msg = f"{file}: expected checkpoint format {FORMAT}, found {quoted(found)}"
        raise CheckpointError(msg)
    try:
        check_declared(_Manifest, manifest, "manifest")
    except ValueError as error:
        msg = f"{file}: damaged: {error}"
        raise CheckpointError(msg) from None
    if manifest["rest"] != rest_digest(manifest):
        msg = f"{file}: meta or log row are damaged: they do not match their digest"
        raise CheckpointError(msg)
    return manifest


def rest_digest(manifest: Mapping[str, Any]) -> str:
    """Return the digest of what :func:`state_digest` leaves out: meta and log row."""
    rest = {"meta": manifest["meta"], "row": manifest["progress"].get("row")}
    return digest_strings([json.dumps(rest, sort_keys=True, allow_nan=False)])
