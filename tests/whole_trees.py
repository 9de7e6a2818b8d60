"""Files and folders for tests of writing whole: what is written, and what is then there."""

from harness.asides import is_aside
from harness.whole import whole_file, whole_folder

OLD, NEW = b"old" * 50, b"new" * 70_000
TREE = {"a.txt": b"1" * 10, "deep/b.bin": b"2" * 70_000, "deep/er/c.txt": b"3"}


def contents(folder):
    """Return every file under a folder, and what is aside, even if it is an empty folder."""
    return {p.relative_to(folder).as_posix(): b"" if p.is_dir() else p.read_bytes()
            for p in sorted(folder.rglob("*")) if p.is_file() or is_aside(p.name)}  # fmt: skip


def fill(folder):
    for name, content in TREE.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(content)


def write_new(path):
    with whole_file(path, new=True) as file:
        file.write(NEW)


def write_tree(path):
    with whole_folder(path) as aside:
        fill(aside)


def whole(folder):
    """Return what is there under any name but an aside's."""
    found = contents(folder)
    return {name: found[name] for name in found if not any(map(is_aside, name.split("/")))}
