"""Values that EdgeFlowNAS's later trainers have, and this project's own does not implement.

They are read, so that a gate can hand them on to the trainer that it is about.
"""

from typing import Any

from pydantic import BaseModel

from harness.config.errors import ConfigError
from harness.config.tree import Config

__all__ = ["require_ours"]


def require_ours(config: Config) -> None:
    """Require what this project's own trainer and evaluator implement.

    Raises
    ------
    ConfigError
        If a key has another trainer's value, naming each.
    """
    found = [
        f"`{key}` is {value!r}, only {default!r} is implemented here"
        for key, value, default in _theirs(config, "")
    ]
    if found:
        msg = (
            f"{'; '.join(found)}: it is for EdgeFlowNAS's supernet_trainer_v2 or _v3, gate these "
            "with --system edgeflownas-v2 or edgeflownas-v3"
        )
        raise ConfigError(msg)


def _theirs(section: BaseModel, prefix: str) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), prefix + (field.alias or name)
        if isinstance(value, BaseModel):
            found += _theirs(value, f"{key}.")
        elif isinstance(field.json_schema_extra, dict) and value in (
            field.json_schema_extra.get("theirs") or ()  # type: ignore[operator]
        ):
            found.append((key, value, field.default))
    return found
