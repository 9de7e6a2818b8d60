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
import sys
from typing import Any, Iterator, Sequence

__all__ = [
    "FORMAT", "GateError", "code_digest", "data_digest", "file_digest", "read_gate", "require_gate",
    "seal_of",
]  # fmt: skip

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


def data_digest(root: Any, without: Sequence[Any] = ()) -> str:
    """Return the digest of the names and sizes of all files below a folder, hidden ones apart.

    Contents are not read: 22,000 samples would take minutes before every run.

    Parameters
    ----------
    without : sequence of path, optional
        Files that do not count, such as the gate file itself.

    Raises
    ------
    GateError
        If there is no such folder.
    """
    found, count, seen = hashlib.blake2b(digest_size=16), 0, set()
    _require_folder(root)
    left_out = {os.path.realpath(str(path)) for path in without}
    for folder, folders, names in os.walk(str(root), followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a loop of links
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        place = os.path.relpath(folder, str(root)).replace(os.sep, "/")
        for name in sorted(name for name in names if not name.startswith(".")):
            path = os.path.join(folder, name)
            if os.path.realpath(path) in left_out:
                continue
            size = os.path.getsize(path) if os.path.exists(path) else -1  # a link to nowhere
            found.update(f"{place}/{name}\0{size}\n".encode("utf-8", "surrogateescape"))
            count += 1
    return f"{count} files {found.hexdigest()}"


def _require_folder(place: Any) -> None:
    if not os.path.exists(str(place)):
        raise GateError(f"{place}: no such folder")


def code_digest(place: Any, without: Sequence[Any] = ()) -> str:
    """Return the digest of the code of a folder's whole repository, by content.

    Of a folder that git does not know, or ignores, of the Python files in it. Whether they are
    committed does not count; that they lie there does.

    Parameters
    ----------
    place : path
        A folder, or a file in it: that of the adapter.
    without : sequence of path, optional
        Files that do not count, such as the gate file itself.

    Raises
    ------
    GateError
        If there is no such folder, or git does not say which files there are.
    """
    _require_folder(place)
    place = os.path.realpath(str(place))
    folder = place if os.path.isdir(place) else os.path.dirname(place)
    top = _git(folder, "rev-parse", "--show-toplevel")
    listed = top and _listed(folder, "--cached", "--others", "--exclude-standard")
    left_out = {os.path.realpath(str(path)) for path in without}
    if not top or not listed:
        text, root, names = "files", folder, set(_python_files(folder))
    else:
        root = os.path.realpath(os.fsdecode(top.rstrip(b"\n")))
        text = "git " + os.path.relpath(folder, root).replace(os.sep, "/")
        names = _repository_files(root)
        # Beside the adapter a file that git ignores may be imported too.
        names.update(os.path.relpath(os.path.join(folder, name), root)
                     for name in os.listdir(folder) if name.endswith(".py"))  # fmt: skip
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(names):
        path = os.path.join(root, name)
        if os.path.realpath(path) not in left_out:
            token = file_digest(path) if os.path.isfile(path) else "no file"
            found.update(f"{name}\0{token}\n".encode("utf-8", "surrogateescape"))
    return f"{text} {found.hexdigest()}"


_CODE = (".py", ".pyx", ".pxd", ".pyi", ".so", ".pyd", ".c", ".cc", ".cpp", ".cu", ".h", ".hpp",
         ".cuh", ".sh", ".toml", ".cfg", ".ini", ".yaml", ".yml", ".json")  # fmt: skip
"""Ends of names of what is code or a setting of it, where git tracks it."""

_UNTRACKED = (".py", ".pyx", ".so", ".pyd")
"""Of what git does not track these alone: a run writes settings and results beside its code."""


def _repository_files(top: str) -> set[str]:
    """Return the names of all code of a repository, with its submodules and nested ones."""
    found = {name for name in _listed(top, "--cached") if name.endswith(_CODE)}
    stages = _git(top, "ls-files", "-z", "--stage") or b""
    modules = [os.fsdecode(line.split(b"\t", 1)[1]) for line in stages.split(b"\0")
               if line.startswith(b"160000 ")]  # fmt: skip
    for name in _listed(top, "--others", "--exclude-standard"):
        if name.endswith("/"):  # a repository in this one, which does not know it
            modules.append(name.rstrip("/"))
        elif name.endswith(_UNTRACKED):
            found.add(name)
    # Which git lists as one file each.
    links = (name for name in _listed(top, "--cached") if os.path.islink(os.path.join(top, name)))
    modules += [name for name in links if os.path.isdir(os.path.join(top, name))]
    for module in modules:
        inside = _python_files(os.path.join(top, module))
        found.update(f"{module}/{name}" for name in inside)
    return found


def _listed(folder: str, *which: str) -> list[str]:
    """Return names of files that git lists, relative to the folder."""
    said = _git(folder, "ls-files", "-z", *which)
    if said is None:
        raise GateError(f"{folder}: git does not list its files; is the repository damaged?")
    return [os.fsdecode(name) for name in said.split(b"\0") if name]


def _python_files(folder: str) -> Iterator[str]:
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        # An environment in the folder is no code of its own; a loop of links would not end.
        if real in seen or "pyvenv.cfg" in names:
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = [f for f in folders if not f.startswith(".") and f != "__pycache__"]
        for name in names:
            if name.endswith(_UNTRACKED):
                yield os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")


def _git(folder: str, *arguments: str) -> bytes | None:
    """Return what git prints; None where it fails, knows no such folder, or is not installed."""
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


def seal_of(gate: dict[str, Any]) -> str:
    """Return the digest of everything in a gate file but its seal: no hand has changed it since."""
    rest = {name: value for name, value in gate.items() if name != "seal"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def require_gate(
    path: Any, *, system: str | None = None, code: Any = None, adapter: Any = None,
    config: Any = None, data: Any = None, tier: str = "quick", promises: Sequence[str] = (),
    declarations: str | None = None, accept_known_defects: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Return the content of a gate file, if it is green for what is asked.

    Parameters
    ----------
    path : str
        The gate file.
    system : str, optional
        What was gated, as given to ``--system``; the folder of its file does not count.
    code, adapter, config, data : str, optional
        Folder of the code (the adapter's, or what was given as ``--system-root``), of the adapter
        where that is another, the run's configuration file, folder of the data. Those that are
        given must be what was gated.
    tier : str, default "quick"
        The gate must have been of this tier at least.
    promises : sequence of str, optional
        Ids that must hold, in place of the whole tier. A gate that was asked for some by name
        vouches for these alone.
    declarations : str, optional
        Digest of the promises' declarations that the gate must have had.
    accept_known_defects : bool, default False
        Whether promises may be broken that are listed with a reason.

    Raises
    ------
    GateError
        If it is not, with everything that is wrong.
    """
    gate = read_gate(path)
    wrong = _not_green(gate, promises, accept_known_defects)
    if tier not in TIERS:
        wrong.append("tier {!r}, expected one of {}".format(tier, ", ".join(TIERS)))
    elif not promises and TIERS.index(gate["tier"]) < TIERS.index(tier):
        wrong.append("tier {!r}, expected {!r} or more".format(gate["tier"], tier))
    digests, without = gate["digests"], (path,)
    asked = (
        ("system", system and _short(system), gate["system"]),
        ("code", code and code_digest(code, without), digests.get("code")),
        ("adapter", adapter and code_digest(adapter, without), digests.get("adapter")),
        ("config", config and file_digest(config), digests.get("config")),
        ("data", data and data_digest(data, without), digests.get("data")),
        ("declarations", declarations, digests.get("declarations")),
    )
    for name, now, then in asked:
        if now is not None and now != then:
            wrong.append(f"{name}: gated {then!r}, asked {now!r}")
    if wrong:
        raise GateError("{}: {}. Gate what you want to train.".format(path, "; ".join(wrong[:8])))
    return gate


def _short(system: str) -> str:
    place, colon, name = system.rpartition(":")
    return os.path.basename(place) + colon + name if place.endswith(".py") else system


def read_gate(path: Any) -> dict[str, Any]:
    """Return the content of a gate file, whatever its verdict, if no hand has changed it.

    Raises
    ------
    GateError
        If it is none.
    """
    try:
        with open(str(path), encoding="utf-8") as file:
            gate = json.load(file)
    except FileNotFoundError:
        raise GateError(f"{path}: no such file; `harness gate --gate-file` writes it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise GateError(f"{path}: not a gate file: {error}") from None
    if not isinstance(gate, dict) or not isinstance(gate.get("relations"), dict):
        raise GateError(f"{path}: not a gate file: it holds no promises")
    if gate.get("format") != FORMAT:
        text = "{}: format {}, expected {}: gate again with the harness that is installed"
        raise GateError(text.format(path, repr(gate.get("format"))[:80], FORMAT))
    try:
        sealed = gate.get("seal") == seal_of(gate)
    except RecursionError:
        sealed = False
    if not sealed:
        raise GateError(f"{path}: it was changed since it was written; gate again")
    # Anybody can seal what the gate did not write.
    for name, kinds in _KINDS:
        if not isinstance(gate.get(name), kinds):
            text = "{}: not a gate file: {} is {}; gate again"
            raise GateError(text.format(path, name, type(gate.get(name)).__name__))
    if gate["tier"] not in TIERS or not _is_told(gate):
        raise GateError(f"{path}: not a gate file: what it says of promises is no verdict")
    return gate


_KINDS = (
    ("verdict", str), ("system", str), ("tier", str), ("digests", dict), ("known_defects", dict),
    ("required", list), ("due", list), ("relations", dict), ("environment", (dict, type(None))),
    ("configuration", (dict, type(None))), ("gated", (dict, type(None))),
)  # fmt: skip


def _is_told(gate: dict[str, Any]) -> bool:
    """Say whether promises have verdicts, and lists hold text, as whoever reads on relies on."""
    code = (gate.get("gated") or {}).get("code") or {}
    return (
        all(isinstance(one, dict) and isinstance(one.get("verdict"), str)
            for one in gate["relations"].values())
        and all(isinstance(one, str) for one in gate["required"] + gate["due"])
        and isinstance(code, dict)
        and isinstance(code.get("commit", ""), str)
    )  # fmt: skip


def _not_green(
    gate: dict[str, Any], promises: Sequence[str], accept_known_defects: bool
) -> list[str]:
    """Return why a gate is not green, by its verdict and by each promise's own."""
    known = gate["known_defects"] if accept_known_defects else {}
    accepted = (_GREEN, _EXCEPT_KNOWN) if accept_known_defects else (_GREEN,)
    verdicts = {name: one["verdict"] for name, one in gate["relations"].items()}
    wrong = []
    if gate["verdict"] not in accepted:
        wrong.append("verdict {!r}, expected {!r}".format(gate["verdict"], _GREEN))
    for name, verdict in sorted(verdicts.items()):
        if verdict not in ("holds", "n/a") and not (verdict == "BROKEN" and known.get(name)):
            wrong.append(f"{name}: {verdict}")
    wrong += [f"{n}: {verdicts.get(n, 'not judged')}" for n in promises if verdicts.get(n) == "n/a"
              or n not in verdicts]  # fmt: skip
    if gate["required"] and not promises:
        text = "it is about {} that it was asked for by name ({}): name what must hold"
        names = ", ".join(gate["required"][:3]) + ", ..." * (len(gate["required"]) > 3)
        count = len(gate["required"])
        wrong.append(text.format("1 promise" if count == 1 else f"{count} promises", names))
    absent = [name for name in gate["due"] if name not in verdicts]
    if absent and not promises:
        wrong.append("{} of {} not judged".format(len(absent), len(gate["due"])))
    if "holds" not in verdicts.values():
        wrong.append("no promise holds")
    return wrong


def _main(arguments: Sequence[str]) -> int:
    """Take one gate file; exit code 2 unless it is green, whatever was gated."""
    if len(arguments) != 1:
        sys.stderr.write("expected one argument, a gate file\n")
        return 2
    try:
        gate = require_gate(arguments[0])
    except GateError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("gated: {}, tier {}\n".format(gate["verdict"], gate["tier"]))
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
