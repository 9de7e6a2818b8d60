"""Which files make a FlyingChairs2 sample, and finding them.

A sample is three files beside one another: ``NNNNNNN-img_0.png``, ``NNNNNNN-img_1.png``
and ``NNNNNNN-flow_01.flo``. The data set ships some twenty companions of each (backward
flow, occlusions, object ids); they are passed over. What may have been meant as a sample and
is not taken as one is refused, or told.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from harness.devices import kind_of
from harness.errors import InputError
from harness.wording import counted, is_utf_8, quoted

__all__ = [
    "MEMBERS", "LayoutError", "Left", "Samples", "Triplet", "left_lines", "list_triplets",
    "member_name",
]  # fmt: skip

MEMBERS = ("img_0.png", "img_1.png", "flow_01.flo")

_MEMBER = re.compile(r"^(?P<stem>.*)-(?P<member>img_0\.png|img_1\.png|flow_01\.flo)$", re.DOTALL)
_NEARLY = re.compile(
    r"^(?P<stem>[0-9]{7})-(?P<kind>img_0|img_1|flow_01)\.[^/]*$", re.IGNORECASE | re.DOTALL
)
_STEM = re.compile(r"^[0-9]{7}$")
_SHOWN = 10
_NAMED = 3
_SYSTEM_FOLDERS = ("$RECYCLE.BIN", "@eaDir", "System Volume Information", "__MACOSX", "lost+found")
"""Where systems keep what was thrown away, thumbnails, and what Unix cannot hold."""


class LayoutError(InputError, FileNotFoundError):
    """A folder does not hold whole samples; the message names files or folder."""


@dataclass(frozen=True)
class Triplet:
    """One sample: two frames and the flow from the first to the second.

    Attributes
    ----------
    id : str
        Path relative to the split's root, with forward slashes and without the
        member's suffix: ``"0000007"`` or ``"part3/0000007"``.
    img_0, img_1, flow : pathlib.Path
        The three files.
    """

    id: str
    img_0: Path
    img_1: Path
    flow: Path


@dataclass(frozen=True)
class Left:
    """What was passed over and may have been meant as samples; paths relative to the root.

    Attributes
    ----------
    folders : tuple of str
        Hidden folders and those of the system (``.Trash-1000``), into which nobody looked.
    hidden : tuple of str
        Files that hide, and end as a member does (``._0000000-img_0.png``).
    nearly : tuple of str
        Files that have a member's name but for case or suffix (``0000006-img_0.jpg``), of no
        sample that is there.
    """

    folders: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    nearly: tuple[str, ...] = ()

    def line(self) -> str:
        """Return one line that counts them; empty where nothing was left."""
        told = [
            _told(self.folders, "hidden folder"),
            _told(self.hidden, "hidden file"),
            _told(self.nearly, "file named almost as a member", "files named almost as members"),
        ]
        return ", ".join(filter(None, told))


class Samples(tuple[Triplet, ...]):
    """The samples of a split, sorted by id, and what was passed over.

    Attributes
    ----------
    root : pathlib.Path
        The split's folder.
    left : Left
        Not a part of what is compared.
    """

    root: Path
    left: Left


def member_name(index: int, member: str) -> str:
    """Return the file name of one member of sample `index`, as ``0000007-img_0.png``."""
    return f"{index:07d}-{member}"


def left_lines(*splits: Iterable[Triplet]) -> list[str]:
    """Return one line for each listing that passed something over, within or beside its folder.

    And one for two splits of which one lies in the other: what is trained on is scored, too.
    """
    lines, listed = {}, [samples for samples in splits if isinstance(samples, Samples)]
    for samples in listed:
        beside = _told(_beside(samples.root), "file beside it", "files beside it")
        lines[samples.root] = ", ".join(filter(None, [samples.left.line(), beside]))
    told = [f"note: {root}: passed over: {line}" for root, line in lines.items() if line]
    return told + [
        f"note: {one.root} and {other.root} share samples, one is or lies in the other: what is "
        "trained on is scored, too"
        for one, other in combinations(listed, 2)
        if _is_within(one.root, other.root) or _is_within(other.root, one.root)
    ]


def _is_within(one: Path, other: Path) -> bool:
    return Path(os.path.realpath(one)).is_relative_to(os.path.realpath(other))


def _told(names: Sequence[str], one: str, several: str = "") -> str:
    """Return how many there are of what, with the first names; empty where there are none."""
    return f"{counted(len(names), one, several)} ({_named(names, _NAMED)})" if names else ""


def list_triplets(root: Path) -> Samples:
    """Find every sample below `root` in one walk of the tree.

    Hidden folders and files are passed over; :attr:`Samples.left` says which.

    Parameters
    ----------
    root : pathlib.Path
        A split's folder.

    Returns
    -------
    Samples
        Sorted by id, so that no file system's order matters.

    Raises
    ------
    LayoutError
        If the folder is absent, holds no sample, or a sample lacks a member; if a member's name
        does not start with seven digits, or it is no file; if a sample is whole but for the case
        or the suffix of its names.
    """
    if not root.is_dir():
        msg = f"no such folder: {root} (expected a FlyingChairs2 split such as train/ or val/)"
        raise LayoutError(msg)
    walk = _Walk(root)
    walk.run()
    _require_members(root, walk)
    samples = Samples(
        Triplet(sample, *(_member_path(root, sample, member) for member in MEMBERS))
        for sample in sorted(walk.found)
    )
    samples.root, samples.left = root, walk.left()
    return samples


@dataclass
class _Walk:
    """One walk of a split's folder."""

    root: Path
    found: dict[str, set[str]] = field(default_factory=dict)
    nearly: dict[str, dict[str, str]] = field(default_factory=dict)
    """By sample: the name of what would be each of its members."""
    hidden: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    _visited: set[str] = field(default_factory=set)

    def run(self) -> None:
        waiting = [""]
        # Depth first and sorted: the first of two ways to a folder gives its ids, the same one on
        # every file system.
        while waiting:
            prefix = waiting.pop()
            real = os.path.realpath(self.root / prefix)
            # A loop of links would never end, and samples be served twice.
            if real in self._visited:
                continue
            self._visited.add(real)
            waiting += sorted(self._folder(prefix), reverse=True)

    def _folder(self, prefix: str) -> list[str]:
        """Look at the entries of one folder and return the folders in it to look into."""
        inner = []
        with os.scandir(self.root / prefix) as entries:
            for entry in entries:
                if not _is_dir(entry):
                    self._file(prefix, entry)
                elif entry.name.startswith(".") or entry.name in _SYSTEM_FOLDERS:
                    self.folders.append(prefix + entry.name)
                elif _is_member(entry.name):
                    raise LayoutError(
                        f"{self.root / prefix / entry.name}: is a folder, expected a file"
                    )
                else:
                    inner.append(f"{prefix}{entry.name}/")
        return inner

    def _file(self, prefix: str, entry: "os.DirEntry[str]") -> None:
        name = entry.name
        match = _MEMBER.match(name)
        if match is None:
            nearly = _NEARLY.match(name)
            if nearly is not None:
                members = self.nearly.setdefault(prefix + nearly["stem"], {})
                members[nearly["kind"].lower()] = name
            return
        if name.startswith("."):
            self.hidden.append(prefix + name)
            return
        path = self.root / prefix / name
        if not _STEM.match(match["stem"]):
            msg = f"{path}: expected seven digits before -{match['member']}"
            raise LayoutError(msg)
        if not is_utf_8(prefix):
            text = "lies in a folder whose name is no UTF-8, which no record of it can hold; rename"
            raise LayoutError(f"{path}: {text} the folder")
        if not _is_file(entry):
            raise LayoutError(f"{path}: is {_kind(path)}, expected a file")
        self.found.setdefault(prefix + match["stem"], set()).add(match["member"])

    def left(self) -> Left:
        """Return what was passed over, sorted."""
        nearly = (
            sample.rpartition("/")[0] + "/" * ("/" in sample) + name
            for sample, members in self.nearly.items()
            if sample not in self.found
            for name in members.values()
        )
        return Left(
            tuple(sorted(self.folders)), tuple(sorted(self.hidden)), tuple(sorted(nearly))
        )  # fmt: skip


def _beside(root: Path) -> tuple[str, ...]:
    """Return the members that lie beside a split's folder, where no split takes them."""
    # As it is written: a link's target may lie among other things.
    parent = root.parent
    try:
        with os.scandir(parent) as entries:
            return tuple(sorted(e.name for e in entries if _is_member(e.name) and not _is_dir(e)))
    except OSError:  # a folder that may be passed through and not listed
        return ()


def _is_member(name: str) -> bool:
    match = _MEMBER.match(name)
    return match is not None and _STEM.match(match["stem"]) is not None


def _is_dir(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a loop, whose name says what it was to be
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _kind(path: Path) -> str:
    try:
        return kind_of(path.stat().st_mode) or "no file"
    except OSError:
        return "a link that leads nowhere"


def _require_members(root: Path, walk: _Walk) -> None:
    """Refuse samples that lack a member, and those that lack the right names alone."""
    missing = [
        f"{sample}-{member}{_instead(walk.nearly.get(sample, {}), member)}"
        for sample in sorted(walk.found)
        for member in MEMBERS
        if member not in walk.found[sample]
    ]
    if missing:
        msg = (
            f"{root}: {counted(len(missing), 'missing member')} in "
            f"{counted(len(walk.found), 'sample')}: "
            f"{_named(missing, _SHOWN)}. "
            "Restore the files or remove the incomplete samples; none is skipped."
        )
        raise LayoutError(msg)
    whole = [
        f"{sample} ({', '.join(sorted(members.values()))})"
        for sample, members in sorted(walk.nearly.items())
        if sample not in walk.found and len(members) == len(MEMBERS)
    ]
    if whole:
        msg = (
            f"{root}: {counted(len(whole), 'sample')} whole but for case or suffix of the names: "
            f"{_named(whole, _NAMED)}. Expected {', '.join(MEMBERS)}: rename or convert the files, "
            "or move them away; none is skipped."
        )
        raise LayoutError(msg)
    if not walk.found:
        left = walk.left().line()
        msg = f"{root}: no sample found, expected files named like 0000000-img_0.png"
        raise LayoutError(msg + (f"; passed over: {left}" if left else ""))


def _instead(members: dict[str, str], member: str) -> str:
    """Return what lies in a missing member's place under another name."""
    name = members.get(member.partition(".")[0])
    return "" if name is None else f" (there is {name})"


def _named(names: Iterable[str], most: int) -> str:
    """Return the first of some names, each cut and in one line."""
    names = list(names)
    shown = ", ".join(name if name.isprintable() else quoted(name) for name in names[:most])
    return shown + (", ..." if len(names) > most else "")


def _member_path(root: Path, sample: str, member: str) -> Path:
    return root / f"{sample}-{member}"
