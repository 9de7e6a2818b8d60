import contextlib
import errno
import itertools
import os
import re
import stat
from pathlib import Path

import pytest

from harness import asides
from harness.asides import is_aside
from harness.whole import (
    NotWrittenError,
    check_target,
    whole_file,
    whole_folder,
    write_bytes,
    write_text,
)
from tests.dying import Killed, dying_at, failing_at
from tests.full_disks import full_after, small_device
from tests.whole_trees import NEW, OLD, TREE, contents, whole, write_new, write_tree


class Case:
    """A write, what is there before, and what may be seen under the name at any time."""

    def __init__(self, write, before, after, between=()):
        self.write, self.before = write, before
        self.after, self.seen = after, [before, after, *between]

    def prepare(self, folder):
        folder.mkdir()
        for name, content in self.before.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)


TARGET = {f"t/{name}": content for name, content in TREE.items()}
ONE_ENTRY = {"t/a.txt": TREE["a.txt"], "t/mine": b"mine"}
CASES = {
    "replaced": Case(lambda p: write_bytes(p, NEW), {"t": OLD}, {"t": NEW}),
    "made": Case(lambda p: write_bytes(p, NEW), {}, {"t": NEW}),
    "made, never replaced": Case(write_new, {}, {"t": NEW}),
    "written again": Case(write_new, {"t": NEW}, {"t": NEW}),
    "a folder": Case(write_tree, {}, TARGET),
    "a folder, written again": Case(write_tree, TARGET, TARGET),
    "a folder that is there": Case(
        write_tree, {"t/mine": b"mine"}, TARGET | {"t/mine": b"mine"}, [ONE_ENTRY]
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def test_what_is_written_is_there_and_nothing_else(case, tmp_path):
    case.prepare(tmp_path / "x")
    case.write(tmp_path / "x" / "t")
    assert contents(tmp_path / "x") == case.after


def test_a_kill_at_any_call_leaves_old_or_new_and_the_same_again_completes(case, tmp_path):
    seen = set()
    for call in itertools.count():
        folder = tmp_path / str(call)
        case.prepare(folder)
        with dying_at(call, folder) as made, contextlib.suppress(Killed):
            case.write(folder / "t")
            break
        assert whole(folder) in case.seen
        seen.add((made[call], whole(folder) == case.after))
        case.write(folder / "t")
        assert contents(folder) == case.after
    assert contents(folder) == case.after
    assert {"open", "fsync"} <= {name for name, _ in seen}
    assert (case.before == case.after) or {done for _, done in seen} == {False, True}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Killed()],
                         ids=["full", "interrupted"])  # fmt: skip
def test_an_error_in_any_call_leaves_old_or_new_and_no_litter(case, error, tmp_path):
    for call in itertools.count():
        folder, raised = tmp_path / str(call), None
        case.prepare(folder)
        with failing_at(call, error, folder) as made:
            try:
                case.write(folder / "t")
            except (OSError, Killed) as found:
                raised = found
        if len(made) <= call:
            break
        found = whole(folder)
        assert found in case.seen
        if raised is None:  # where clearing away fails, the next writer clears
            assert found == case.after
        else:
            assert raised is error or f"{folder / 't'}: not written: No space" in str(raised)
        if found != case.after:
            assert contents(folder) == found
        case.write(folder / "t")
        assert contents(folder) == case.after
    assert contents(folder) == case.after


@pytest.mark.parametrize("size", [0, 1, 4096, 69_999, 150_000, 209_999])
def test_a_full_disk_is_named_in_one_line_and_nothing_is_left(size, tmp_path):
    write_bytes(tmp_path / "t", OLD)
    writes = [lambda: write_bytes(tmp_path / "t", NEW), lambda: write_new(tmp_path / "new"),
              lambda: write_tree(tmp_path / "tree")]  # fmt: skip
    for write, name in zip(writes, ("t", "new", "tree"), strict=True):
        if name == "tree" and size > 70_000:
            continue
        with full_after(size), pytest.raises(NotWrittenError) as caught:
            write()
        message = f"{tmp_path / name}: not written: File too large; make room, then give the same"
        assert str(caught.value).startswith(message)
    assert contents(tmp_path) == {"t": OLD}


def test_a_device_without_space_is_named(tmp_path):
    with small_device(tmp_path, 64) as mounted:
        write_bytes(mounted / "t", OLD)
        for write in (lambda p: write_bytes(p, NEW), write_tree):
            for path in (mounted / "t", mounted / "u")[write is write_tree :]:
                message = f"{re.escape(str(path))}: not written: No space left on device; make room"
                with pytest.raises(NotWrittenError, match=message):
                    write(path)
                assert contents(mounted) == {"t": OLD}


def test_everything_is_synced_before_it_has_its_name(tmp_path, monkeypatch):
    events = []
    sync = os.fsync

    def synced(descriptor):
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    for call, real in (("rename", os.rename), ("replace", os.replace), ("link", os.link)):
        monkeypatch.setattr(os, call, lambda *a, r=real, **k: (events.append("NAMED"), r(*a, **k)))
    for write in (lambda p: write_bytes(p, NEW), write_new):
        write(tmp_path / "file")
        aside, *others = events
        assert is_aside(aside)
        assert others == ["NAMED", tmp_path.name]
        events.clear()
    write_tree(tmp_path / "t")
    before, after = events[: events.index("NAMED")], events[events.index("NAMED") + 1 :]
    assert sorted(before) == ["a.txt", "b.bin", "c.txt", "content", "deep", "er"]
    for folder, inside in (("content", "deep"), ("deep", "er"), ("er", "c.txt")):
        assert before.index(folder) > before.index(inside)
    assert after == [tmp_path.name]


def modes(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_permissions_are_those_of_a_plain_open_and_stay_on_replacing(tmp_path):
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "t", OLD)
        write_new(tmp_path / "new")
        write_tree(tmp_path / "tree")
    finally:
        os.umask(old)
    assert {modes(tmp_path / name) for name in ("t", "new", "tree/a.txt")} == {0o640}
    assert {modes(tmp_path / name) for name in ("tree", "tree/deep")} == {0o750}
    (tmp_path / "t").chmod(0o604)
    write_bytes(tmp_path / "t", NEW)
    assert modes(tmp_path / "t") == 0o604


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    for name in ("there", "here"):
        (tmp_path / name).mkdir()
    links = {"here/one": "../there/t", "here/two": "one", "here/new": "../there/new"}
    for link, to in links.items():
        (tmp_path / link).symlink_to(to)
    write_bytes(tmp_path / "there" / "t", OLD)
    write_text(tmp_path / "here" / "two", "through two links")
    write_text(tmp_path / "here" / "new", "made")
    assert {link: str((tmp_path / link).readlink()) for link in links} == links
    found = {n: c for n, c in contents(tmp_path).items() if n.startswith("there")}
    assert found == {"there/t": b"through two links", "there/new": b"made"}
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(NotWrittenError, match=r"loop: not written: Too many levels"):
        write_text(tmp_path / "loop", "")


def test_paths_are_relative_to_where_the_writing_began(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with whole_file(Path("t")) as file, whole_folder(Path("f")) as folder:
        monkeypatch.chdir(tmp_path / "elsewhere")
        file.write(NEW)
        (folder / "a").write_bytes(b"1")
    assert contents(tmp_path) == {"t": NEW, "f/a": b"1"}


def test_what_cannot_be_a_file_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_bytes(Path("t"), OLD)
    wrong = {
        "no/t": "no/t: not written: there is no folder no; make it first",
        "t/u": "t/u: not written: there is no folder t; make it first",
        ".": ".: not written: is a folder, expected a file's name",
    }
    for path, message in wrong.items():
        for refuse in (check_target, lambda p: write_bytes(p, NEW)):
            with pytest.raises(NotWrittenError, match=f"^{re.escape(message)}$"):
                refuse(Path(path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(NotWrittenError, match="t: not written: is there and protected"):
        write_bytes(Path("t"), NEW)
    assert contents(tmp_path) == {"t": OLD}


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "two\nlines", ".hidden", "t.part", "-"])
def test_any_name_that_the_system_allows_will_do(name, tmp_path):
    for write in (lambda p: write_bytes(p, NEW), lambda p: write_bytes(p, OLD)):
        with dying_at(3, tmp_path), contextlib.suppress(Killed):
            write(tmp_path / name)
        write(tmp_path / name)
    assert contents(tmp_path) == {name: OLD}
    write_tree(tmp_path / "f" / name)
    assert contents(tmp_path / "f" / name) == TREE


def test_what_holds_something_else_is_never_replaced_where_that_was_asked(tmp_path):
    write_bytes(tmp_path / "t", OLD)
    with pytest.raises(FileExistsError, match=r"t: exists and holds something else.*name another"):
        write_new(tmp_path / "t")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="pipe: exists"):
        write_new(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="t: exists and holds something else"):
        write_tree(tmp_path / "t")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "deep").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="f/deep: exists and holds something else"):
        write_tree(tmp_path / "f")
    assert contents(tmp_path) == {"t": OLD, "f/deep": b"mine"}, "no entry before the refusal"


@pytest.mark.parametrize("there", [None, NEW, OLD])
def test_a_file_system_without_hard_links_will_do(there, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    if there is not None:
        write_bytes(tmp_path / "t", there)
    with pytest.raises(FileExistsError) if there is OLD else contextlib.nullcontext():
        write_new(tmp_path / "t")
    assert contents(tmp_path) == {"t": there or NEW}


def test_a_file_system_that_syncs_no_folder_will_do(tmp_path, monkeypatch):
    sync = os.fsync

    def files_only(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    write_tree(tmp_path / "t")
    assert contents(tmp_path / "t") == TREE


def test_the_first_error_is_the_one_to_tell(tmp_path):
    with (
        full_after(0), pytest.raises(ZeroDivisionError), whole_file(tmp_path / "t") as file,
    ):  # fmt: skip
        _ = file.write(b"kept until there is no room for it") // 0
    assert contents(tmp_path) == {}


def test_errors_of_what_is_read_keep_their_names(tmp_path):
    for context in (whole_file(tmp_path / "t"), whole_folder(tmp_path / "f")):
        with pytest.raises(FileNotFoundError, match="absent"), context:
            (tmp_path / "absent").read_bytes()
        with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "t") as file:
            file.write(bytes(1 // 0))
    assert contents(tmp_path) == {}


def test_asides_are_told_from_other_names():
    assert asides.is_aside(f".t.{'0' * 16}.part")
    for name in ("t", ".t.part", f"t.{'0' * 16}.part", f".t.{'0' * 15}.part", f".{'0' * 16}.part"):
        assert not is_aside(name)
