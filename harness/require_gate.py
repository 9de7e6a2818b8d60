"""Refuse to train what no green gate vouches for. One file, Python 3.7, no dependencies: copy it.

    from require_gate import require_gate

    require_gate("gate.json", system="adapter.py:MyTrainer", code=".", config="run.yaml",
                 data="/data/FlyingChairs2")

The gate file says what was gated: digests of the code, the configuration file and the data's
listing, which are made here in the same way and must be equal.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from typing import Any, Iterator, Sequence

__all__ = ["FORMAT", "GateError", "code_digest", "data_digest", "file_digest", "require_gate"]

FORMAT = 2
"""Of a gate file. The first one had no number and no digests."""

TIERS = ("smoke", "quick", "full", "nightly")

_GREEN, _EXCEPT_KNOWN = "green", "green except known"


class GateError(RuntimeError):
    """The gate file does not vouch for what is about to run; says everything that is wrong."""


def file_digest(path: Any) -> str:
    """Return the digest of a file's bytes."""
    found = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            found.update(part)
    return found.hexdigest()


def data_digest(root: Any) -> str:
    """Return the digest of the names and sizes of all files below a folder, hidden ones apart.

    Contents are not read: 22,000 samples would take minutes before every run.
    """
    found, count = hashlib.blake2b(digest_size=16), 0
    for folder, folders, names in os.walk(str(root), followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        place = os.path.relpath(folder, str(root)).replace(os.sep, "/")
        for name in sorted(name for name in names if not name.startswith(".")):
            size = os.path.getsize(os.path.join(folder, name))
            found.update(f"{place}/{name}\0{size}\n".encode("utf-8", "surrogateescape"))
            count += 1
    return f"{count} files {found.hexdigest()}"


def code_digest(place: Any) -> str:
    """Return the digest of a folder's code: its commit and all that differs from it.

    Of a folder that git does not know, of its Python files.
    """
    place = str(place)
    folder = place if os.path.isdir(place) else os.path.dirname(os.path.abspath(place))
    commit = _git(folder, "rev-parse", "HEAD")
    found = hashlib.blake2b(digest_size=16)
    if commit is None:
        for name in sorted(_python_files(folder)):
            path = os.path.join(folder, name)
            found.update(f"{name}\0{file_digest(path)}\n".encode())
        return f"files {found.hexdigest()}"
    found.update(commit)
    found.update(_git(folder, "diff", "HEAD", "--binary", "--no-ext-diff") or b"")
    # From the repository's top: the trainer may lie in any folder beside the adapter's.
    top = (_git(folder, "rev-parse", "--show-toplevel") or b"").decode().strip() or folder
    names = (_git(top, "ls-files", "--others", "--exclude-standard", "-z") or b"").split(b"\0")
    for untracked in sorted(name for name in names if name.endswith(b".py")):
        path = os.path.join(top, os.fsdecode(untracked))
        found.update(untracked + b"\0" + file_digest(path).encode("ascii") + b"\n")
    return f"git {found.hexdigest()}"


def _python_files(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and f != "__pycache__"]
        for name in names:
            if name.endswith(".py"):
                yield os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")


def _git(folder: str, *arguments: str) -> bytes | None:
    """Return what git prints; None where it knows no such folder, or is not installed."""
    # A hook that trains sets these for its own repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment.update(GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
    try:
        done = subprocess.run(
            ["git", "-C", folder] + list(arguments),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def require_gate(
    path: Any, *, system: str | None = None, code: Any = None, config: Any = None,
    data: Any = None, tier: str = "quick", promises: Sequence[str] = (),
    declarations: str | None = None, accept_known_defects: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Return the content of a gate file, if it is green for what is asked.

    Parameters
    ----------
    path : str
        The gate file.
    system : str, optional
        What was gated, as given to ``--system``, without the folder of its file.
    code, config, data : str, optional
        Folder of the code, the run's configuration file, folder of the data. Those that are
        given must be what was gated.
    tier : str, default "quick"
        The gate must have been of this tier at least.
    promises : sequence of str, optional
        Ids that must hold, in place of the whole tier.
    declarations : str, optional
        Digest of the promises' declarations that the gate must have had.
    accept_known_defects : bool, default False
        Whether promises may be broken that are listed with a reason.

    Raises
    ------
    GateError
        If it is not, with everything that is wrong.
    """
    gate = _read(path)
    wrong = _not_green(gate, promises, accept_known_defects)
    if gate.get("tier") not in TIERS or tier not in TIERS:
        wrong.append("tier {!r}, expected one of {}".format(gate.get("tier"), ", ".join(TIERS)))
    elif not promises and TIERS.index(gate["tier"]) < TIERS.index(tier):
        wrong.append("tier {!r}, expected {!r} or more".format(gate["tier"], tier))
    digests = gate.get("digests") or {}
    asked = (
        ("system", system, gate.get("system")),
        ("code", code and code_digest(code), digests.get("code")),
        ("config", config and file_digest(config), digests.get("config")),
        ("data", data and data_digest(data), digests.get("data")),
        ("declarations", declarations, digests.get("declarations")),
    )
    for name, now, then in asked:
        if now is not None and now != then:
            wrong.append(f"{name}: gated {then!r}, asked {now!r}")
    if wrong:
        raise GateError("{}: {}. Gate what you want to train.".format(path, "; ".join(wrong[:8])))
    return gate


def _read(path: Any) -> dict[str, Any]:
    try:
        with open(str(path), encoding="utf-8") as file:
            gate = json.load(file)
    except FileNotFoundError:
        raise GateError(f"{path}: no such file; `harness gate --gate-file` writes it") from None
    except (OSError, ValueError) as error:
        raise GateError(f"{path}: not a gate file: {error}") from None
    if not isinstance(gate, dict) or not isinstance(gate.get("relations"), dict):
        raise GateError(f"{path}: not a gate file: it holds no promises")
    if gate.get("format") != FORMAT:
        text = "{}: format {!r}, expected {}: gate again with the harness that is installed"
        raise GateError(text.format(path, gate.get("format"), FORMAT))
    return gate


def _not_green(
    gate: dict[str, Any], promises: Sequence[str], accept_known_defects: bool
) -> list[str]:
    """Return why a gate is not green, by its verdict and by each promise's own."""
    known = gate.get("known_defects") or {}
    accepted = (_GREEN, _EXCEPT_KNOWN) if accept_known_defects else (_GREEN,)
    verdicts = {
        name: one.get("verdict") if isinstance(one, dict) else None
        for name, one in gate["relations"].items()
    }
    wrong = []
    if gate.get("verdict") not in accepted:
        wrong.append("verdict {!r}, expected {!r}".format(gate.get("verdict"), _GREEN))
    for name, verdict in sorted(verdicts.items()):
        if verdict not in ("holds", "n/a") and not (accept_known_defects and known.get(name)):
            wrong.append(f"{name}: {verdict}")
    wrong += [f"{n}: not judged" for n in promises if verdicts.get(n) != "holds"]
    if "holds" not in verdicts.values():
        wrong.append("no promise holds")
    return wrong
