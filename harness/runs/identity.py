"""What may be compared: the digests of a run's training dynamics and of its metric.

Both are generated from the kinds that the configuration's fields declare. A change of the
dynamics makes another run, or a new segment of this one; a change of the protocol starts a
new metric series. No TensorFlow here, so that a wrong configuration is refused before it
starts.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from harness.comparing import ABSENT, changes
from harness.config import Config, field_kinds, parse_config
from harness.digest import digest_file, digest_strings
from harness.evaluation.scoring import device_split, score_split
from harness.fc2.layout import Triplet, list_triplets

__all__ = [
    "SCORED",
    "DataDigests",
    "data_digests",
    "dynamics_values",
    "gate_values",
    "identity_changes",
    "protocol_identity",
    "protocol_values",
    "read_data_digests",
    "recorded_identities",
    "run_identity",
]

DataDigests = Mapping[str, str]
"""Digest of the sample ids of ``train`` and ``val``, and of a ``frozen`` artifact if any.

And ``scored``: ``"device"`` where scores are summed up there. Earlier versions knew the host alone,
and where it is the host nothing is said, so that digests stay.
"""

SCORED = "scored"


def _values_of(config: Config, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Return every field of the given kinds by dotted key."""
    tree = config.model_dump(mode="json", by_alias=True)
    values: dict[str, Any] = {}
    for key, kind in sorted(field_kinds().items()):
        if kind in kinds:
            value: Any = tree
            for part in key.split("."):
                value = value[part]
            values[key] = value
    return values


def dynamics_values(config: Config, data: DataDigests) -> dict[str, Any]:
    """Return what training yields its weights from: dynamics fields and training samples."""
    return {**_values_of(config, ("dynamics",)), **_listed_samples(data, "train")}


def protocol_values(config: Config, data: DataDigests) -> dict[str, Any]:
    """Return what an evaluation measures: protocol fields, the pool's seed, the samples.

    Defaults are resolved, and a frozen artifact counts by its content, not by its path.
    """
    on_device = data.get(SCORED) == "device"
    split = device_split if on_device else score_split
    return {
        **_values_of(config, ("protocol",)),
        "eval.batch_size": config.eval_batch_size,
        "eval.crop": list(config.eval_crop),
        "eval.frozen": data.get("frozen", ""),
        "eval.score_split": split(*config.eval_crop),
        **({"eval.scored": "device"} if on_device else {}),
        # The seed draws the pool, and random recalibration sets.
        "runtime.seed": config.runtime.seed,
        **_listed_samples(data, "train", "val"),
    }


def _listed_samples(data: DataDigests, *splits: str) -> dict[str, Any]:
    return {f"samples of {split}": data[split] for split in splits if split in data}


def data_digests(
    train: Iterable[Triplet], val: Iterable[Triplet], *, frozen: str = "", scored: str = "host"
) -> dict[str, str]:
    """Return the digests of two splits' sample ids.

    Pixels are not read: the digests of the batches that are trained and scored on cover them.

    Parameters
    ----------
    frozen : str
        Digest of a frozen artifact's file.
    scored : {"host", "device"}
        Where scores are summed up, as :func:`harness.evaluation.scoring.scored_on` says.
    """
    found = {
        split: digest_strings([triplet.id for triplet in samples])
        for split, samples in (("train", train), ("val", val))
    }
    if frozen:
        found["frozen"] = frozen
    return found if scored == "host" else {**found, SCORED: scored}


def read_data_digests(config: Config, *, scored: str = "host") -> dict[str, str]:
    """List the configured data and return its digests; `scored` as in :func:`data_digests`.

    Raises
    ------
    FileNotFoundError
        If a split is absent, empty or has incomplete samples.
    """
    frozen = Path(config.eval.frozen)
    return data_digests(
        list_triplets(config.data.split_dir("train")),
        list_triplets(config.data.split_dir("val")),
        frozen=digest_file(frozen) if config.eval.frozen else "",
        scored=scored,
    )


def run_identity(config: Config, data: DataDigests) -> str:
    """Return the digest of the training dynamics: equal for runs whose curves may be compared."""
    return _digest_values(dynamics_values(config, data))


def protocol_identity(config: Config, data: DataDigests) -> str:
    """Return the digest of the evaluation protocol: equal within one metric series."""
    return _digest_values(protocol_values(config, data))


def recorded_identities(tree: Mapping[str, Any], data: DataDigests) -> tuple[str, str]:
    """Return the digests of dynamics and protocol that follow from a recorded configuration.

    A key that came with a later version than the one that recorded the tree is left out of both,
    as that version did.

    Parameters
    ----------
    tree : mapping
        Configuration tree, as :attr:`harness.records.records.RunRecord.config`.

    Raises
    ------
    ConfigError
        If it holds what this version does not know.
    """
    config, known = parse_config(tree), field_kinds()
    later = {key for key in known if _is_absent(tree, key)}
    found = dynamics_values(config, data), protocol_values(config, data)
    dynamics, protocol = (
        _digest_values({key: value for key, value in values.items() if key not in later})
        for values in found
    )
    return dynamics, protocol


def _is_absent(tree: Mapping[str, Any], key: str) -> bool:
    value: Any = tree
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return True
        value = value[part]
    return False


def _digest_values(values: Mapping[str, Any]) -> str:
    return digest_strings([text for key, value in values.items() for text in (key, repr(value))])


def identity_changes(
    what: Literal["dynamics", "protocol"],
    old: tuple[Config, DataDigests],
    new: tuple[Config, DataDigests],
) -> list[str]:
    """Return ``key: old -> new`` for every value of one kind that differs.

    What an older run did not record is not compared.
    """
    values = dynamics_values if what == "dynamics" else protocol_values
    # Key by key and not by digest: a key of a later version has its
    # default in older records (decision 0009).
    before, after = values(*old), values(*new)
    if what == "protocol":  # what is not said is known here: it was the host
        for one in (before, after):
            one.setdefault("eval.scored", "host")
    found = changes(before, after)
    return [str(change) for change in found if ABSENT not in (change.old, change.new)]


def gate_values(config: Config) -> dict[str, Any]:
    """Return everything that a gate file vouches for: dynamics, protocol, where data lie."""
    values = _values_of(config, ("dynamics", "protocol"))
    for split in ("train_dir", "val_dir"):
        values[f"data.{split}"] = str(
            Path(config.data.base_path, getattr(config.data, split)).resolve()
        )
    return values
