"""Reading, overriding and writing configuration; errors name each key and what it should be."""

import difflib
import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from harness.config.errors import ConfigError
from harness.config.meant import as_meant, for_key, with_escapes
from harness.config.tree import Config, Kind
from harness.config.written import MOST_CHARACTERS, read_yaml
from harness.errors import cut
from harness.wording import is_utf_8, quoted

__all__ = [
    "ConfigError",
    "dump_config",
    "field_kinds",
    "load_config",
    "parse_config",
    "with_fc2_root",
    "with_overrides",
]


_MOST_PROBLEMS = 10
"""Problems that one message lists."""
_MOST_PARTS = 3
_SPLITS = ("train", "val")


def parse_config(tree: Mapping[str, Any] | None) -> Config:
    """Validate a nested mapping.

    Raises
    ------
    ConfigError
        On an unknown key (with the nearest known one), a value out of range or one
        that is not implemented. All problems are listed at once.
    """
    data = dict(tree or {})
    problems = list(islice(_unknown_keys(data, Config, ""), _MOST_PROBLEMS + 1))
    try:
        # Without the unknown keys, so that wrong values are found in the same go.
        config = Config.model_validate(_known_part(data, Config))
    except ValidationError as error:
        problems += dict.fromkeys(_plain_text(e) for e in error.errors())
    if problems:
        more = ["and more"] * (len(problems) > _MOST_PROBLEMS)
        raise ConfigError("; ".join([*problems[:_MOST_PROBLEMS], *more]))
    return config


def _known_part(tree: Mapping[str, Any], section: type[BaseModel]) -> dict[str, Any]:
    """Return the tree without what `_unknown_keys` reports."""
    kept: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        key, annotation = field.alias or name, field.annotation
        if key not in tree:
            continue
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if isinstance(tree[key], Mapping):
                kept[key] = _known_part(tree[key], annotation)
        else:
            kept[key] = tree[key]
    return kept


def load_config(path: Path) -> Config:
    """Read and validate a YAML file.

    Raises
    ------
    ConfigError
        If the file is absent, is not YAML, or does not validate; names the file.
    """
    try:
        tree = read_yaml(_read_text(path))
    except FileNotFoundError:
        msg = f"no such configuration file: {path}"
        raise ConfigError(msg) from None
    except OSError as error:
        msg = f"{path}: not readable: {error.strerror or error}"
        raise ConfigError(msg) from None
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from None
    if tree is not None and not isinstance(tree, Mapping):
        msg = f"{path}: expected sections such as `train:`, found {type(tree).__name__}"
        raise ConfigError(msg)
    try:
        return parse_config(as_meant(tree or {}, Config))
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from None


def _read_text(path: Path) -> str:
    """Return a file's text; of one that is too long, or has no end, as much as shows it."""
    # Of a pipe that nobody writes to, opening would wait for ever.
    if path.is_fifo() and not str(path).startswith(("/dev/fd/", "/proc/self/fd/", "/dev/stdin")):
        msg = "expected a file, found a named pipe"
        raise ConfigError(msg)
    with path.open("rb") as file:
        content = file.read(4 * MOST_CHARACTERS + 1)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(content) > 4 * MOST_CHARACTERS:  # cut within a character
            return content.decode("utf-8", "replace")
        msg = f"not readable as YAML: byte {error.start} is not UTF-8"
        raise ConfigError(msg) from None


def with_overrides(config: Config, assignments: Iterable[str]) -> Config:
    """Apply ``KEY=VALUE`` strings such as ``train.lr=1e-3``; values are read as YAML.

    Raises
    ------
    ConfigError
        If an assignment has no ``=`` or the result does not validate.
    """
    tree = config.model_dump(by_alias=True)
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            msg = f"expected KEY=VALUE such as train.lr=1e-3, got {quoted(assignment)}"
            raise ConfigError(msg)
        *parents, leaf = parts = key.strip().split(".")
        if len(parts) > _MOST_PARTS:
            msg = f"`{cut(key)}`: no key has more than {_MOST_PARTS} parts"
            raise ConfigError(msg)
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                msg = f"`{cut(key)}`: `{cut(parent)}` is a value, not a section"
                raise ConfigError(msg)
        try:
            value = for_key(read_yaml(text), parts, Config)
            if isinstance(section.get(leaf), dict) and isinstance(value, Mapping):
                msg = (
                    f"`{cut(key)}` is a section, whose other keys would be lost; set one key of it"
                )
                raise ConfigError(msg)
            section[leaf] = value
        except ConfigError as error:
            msg = f"{cut(assignment)}: {error}"
            raise ConfigError(msg) from None
    # Validated anew, which pydantic's model_copy would not do.
    return parse_config(tree)


def with_fc2_root(config: Config, root: Path | None) -> Config:
    """Return the configuration reading ``ROOT/train`` and ``ROOT/val``; None: unchanged.

    Raises
    ------
    ConfigError
        If one of the two folders is absent.
    """
    if root is None:
        return config
    for split in _SPLITS:
        if not (root / split).is_dir():
            msg = f"--fc2-root {root}: expected a folder {split}/ in it{_instead(root)}"
            raise ConfigError(msg)
    if not is_utf_8(str(root.resolve())):
        msg = f"--fc2-root {cut(str(root))}: the name of a folder is no UTF-8, which no record of "
        raise ConfigError(f"{msg}a run can hold; rename it")
    # Absolute: a relative `base_path` is read from the working directory.
    data = config.data.model_copy(
        update={"base_path": str(root.resolve()), "train_dir": "train", "val_dir": "val"}
    )
    return config.model_copy(update={"data": data})


def _instead(root: Path) -> str:
    """Return what is there in place of a folder of both splits."""
    if not root.is_dir():
        return "; there is no such folder"
    if root.resolve().name in _SPLITS:
        return "; name the folder above it, which holds both splits"
    with os.scandir(root) as entries:
        inner = sorted(one.name for one in entries if one.is_dir())
    more = ", ..." if len(inner) > _MOST_PARTS else ""
    return f", found {', '.join(inner[:_MOST_PARTS])}{more}" if inner else ", found no folder there"


def dump_config(config: Config) -> str:
    """Return the resolved tree as YAML that :func:`load_config` reads back equal."""
    tree = with_escapes(config.model_dump(mode="json", by_alias=True), Config)
    plain = str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    # PyYAML writes these as they are, and reads a blank: they end a line of YAML.
    if not any(end in plain for end in "\x85\u2028\u2029"):
        return plain
    return str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=False))


def field_kinds() -> dict[str, Kind]:
    """Return the kind of every leaf, by dotted key such as ``train.lr``."""
    return dict(_leaf_kinds(Config, ""))


def _leaf_kinds(section: type[BaseModel], prefix: str) -> Iterable[tuple[str, Kind]]:
    for name, field in section.model_fields.items():
        key = prefix + (field.alias or name)
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _leaf_kinds(annotation, f"{key}.")
            continue
        extra = field.json_schema_extra
        kind = extra.get("kind") if isinstance(extra, Mapping) else None
        if kind not in get_args(Kind):
            msg = f"field `{key}` declares no kind"
            raise TypeError(msg)
        yield key, kind  # type: ignore[misc]


def _unknown_keys(tree: Mapping[str, Any], section: type[BaseModel], prefix: str) -> Iterable[str]:
    known = {field.alias or name: field for name, field in section.model_fields.items()}
    for key, value in tree.items():
        if key not in known:
            yield _suggest(prefix, str(key), list(known))
            continue
        annotation = known[key].annotation
        nested = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        if nested and not isinstance(value, Mapping):
            yield f"`{prefix}{key}`: expected a section of keys, got {quoted(value)}"
        elif nested:
            yield from _unknown_keys(value, annotation, f"{prefix}{key}.")  # type: ignore[arg-type]


def _suggest(prefix: str, key: str, siblings: list[str]) -> str:
    key, everywhere = cut(key), field_kinds()
    close = difflib.get_close_matches(key, siblings, n=1, cutoff=0.6)
    if close:
        return f"unknown key `{prefix}{key}`: did you mean `{prefix}{close[0]}`?"
    elsewhere = [k for k in everywhere if k.rsplit(".", 1)[-1] == key]
    far = elsewhere or difflib.get_close_matches(prefix + key, everywhere, n=1, cutoff=0.6)
    if far:
        return f"unknown key `{prefix}{key}`: did you mean `{far[0]}`?"
    return f"unknown key `{prefix}{key}`: known here are {', '.join(siblings)}"


def _plain_text(error: Any) -> str:
    # Where a type is a union, pydantic puts the member's name into the place; it is no key.
    parts = [
        str(p) for p in error["loc"] if "constrained" not in str(p) and "literal" not in str(p)
    ]
    key = ".".join(parts)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"in `{key}`: {message}"
    return f"`{key}`: {message}, got {quoted(error['input'])}"
