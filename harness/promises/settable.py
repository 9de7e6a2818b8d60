"""Configuration trees with keys changed, and which values of a key a system can have."""

import copy
from collections.abc import Mapping
from typing import Any

from harness.errors import NotApplicableError
from harness.promises.sampling import shuffles

__all__ = ["Tree", "changed", "require_settable", "stands_for"]

Tree = Mapping[str, Any]


def changed(config: Tree, **sections: Tree) -> dict[str, Any]:
    """Return a deep copy of a configuration tree with keys of sections replaced."""
    tree = copy.deepcopy(dict(config))
    for section, values in sections.items():
        tree[section] = {**tree.get(section, {}), **values}
    return tree


def require_settable(config: Tree, settings: Tree, sections: Mapping[str, Tree]) -> None:
    """Require that a system can have every value that sections ask for.

    Parameters
    ----------
    config : mapping
        Configuration tree that the sections change.
    settings : mapping of str to any
        ``section.key`` to the only value that the system has of it.

    Raises
    ------
    NotApplicableError
        If another one is asked for, naming the key and both values.
    """
    tree = changed(config, **sections)
    for section, values in sections.items():
        for key, value in values.items():
            name = f"{section}.{key}"
            if name not in settings:
                continue
            own_mode = name.startswith("train.") and not shuffles({name[6:]: settings[name]})
            if own_mode and value is None:
                continue  # as the system has it, which no configuration can say
            if stands_for(tree, name, value) != stands_for(tree, name, settings[name]):
                msg = f"the system has {name} {settings[name]!r} alone, {value!r} is needed"
                raise NotApplicableError(msg)


def stands_for(tree: Tree, name: str, value: Any) -> Any:
    """Return a setting's value, or what one that is left out stands for."""
    train, data = tree.get("train", {}), tree.get("data", {})
    full_pass = train.get("epoch_mode") == "full_pass"
    left_out = {
        "eval.batch_size": train.get("batch_size"),
        "eval.crop": [data.get("input_height"), data.get("input_width")],
        "train.micro_batch_size": train.get("batch_size"),
        "train.train_sampling_mode": "shuffle_no_replacement" if full_pass else "random",
    }
    found = left_out.get(name) if value is None else value
    return list(found) if isinstance(found, (list, tuple)) else found
