"""Every result is written by harness.whole: whoever writes past it is found here."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import harness

ROOT = Path(harness.__file__).parent
WRITER = ("whole.py", "asides.py", "devices.py")
ALLOWED = {
    "appended to line by line, and repaired where a kill cut the last one": (
        "records/ledger.py", "training/epochlog.py", "evaluation/journal.py",
    ),
    "a lock, which holds nothing": ("runs/run_directory.py",),
    "a log of a process": ("systems/process.py",),
    "said to a process of ours in a folder that goes with it": (
        "systems/edgeflownas/one_arch.py", "systems/edgeflownas/run.py",
        "systems/edgeflownas/variables.py",
        "training/saver_child.py",
    ),
    "a list of samples for a trainer, in a folder that goes with its adapter": (
        "systems/torch/samples.py",
    ),
    "samples that are damaged on purpose, in the gate's own folder": (
        "promises/cache.py", "promises/damaged_checkpoints.py", "promises/loaded.py",
        "promises/refusals.py", "promises/samples.py",
    ),
    "somebody's file beside checkpoints, in the gate's own folder": ("promises/kept_run.py",),
    "a copy of a checkpoint, and a file where no folder can be, in the gate's own folder": (
        "promises/offline.py", "promises/saved_again.py",
    ),
    "half of a checkpoint on purpose: a fault": ("faults/anywhere/checkpoints.py",),
    "a copy of a checkpoint, in a temporary folder: a fault": ("faults/saving.py",),
    "a line behind a checkpoint's file, and the file as it was: a fault": (
        "faults/anywhere/offline.py",
    ),
    "a line of a table: a fault, and half of one that a crash left": (
        "faults/run_logs.py", "promises/epochs_csv.py",
    ),
    "a line for GitHub, whose file others write to as well": ("github.py",),
    "drawn in memory": ("reporting/budget.py", "reporting/plots.py"),
    "a sample, for write_dataset in the folder that whole_folder gives it": ("fc2/synthetic.py",),
}  # fmt: skip
"""Why which modules may write directly."""

WRITES = {
    "write_text", "write_bytes", "savez", "savez_compressed", "savefig", "savetxt", "tofile",
    "imwrite", "writeOpticalFlow", "copyfile", "copy2", "copytree", "copyfileobj", "touch",
}  # fmt: skip
FROM = {("json", "dump"), ("yaml", "dump"), ("pickle", "dump"), ("np", "save"), ("shutil", "copy"),
        ("shutil", "move")}  # fmt: skip
MODE = re.compile(r"[rwxabt+]{1,3}")


def is_write(call):
    """Say whether a call writes a file; what only looks so is none (``path.copy()``)."""
    match call.func:
        case ast.Attribute(attr="open") | ast.Name(id="open"):
            given = [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
            modes = [a.value for a in given if isinstance(a, ast.Constant)]
            created = "O_CREAT" in ast.unparse(call)
            return created or any(
                isinstance(m, str) and MODE.fullmatch(m) and set("wxa+") & set(m) for m in modes
            )
        case ast.Attribute(value=ast.Name(id=module), attr=name) if (module, name) in FROM:
            return True
        case ast.Attribute(attr=name):
            return name in WRITES
    return False


def direct_writes(node):
    """Find what writes a file, but into what ``whole_file`` or ``whole_folder`` gives."""
    if isinstance(node, ast.With):
        given = [ast.unparse(item.context_expr) for item in node.items]
        if any(text.startswith(("whole_file(", "whole_folder(")) for text in given):
            return
    if isinstance(node, ast.Call) and is_write(node):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from direct_writes(child)


@cache
def found():
    """Return (module, what it says) of each direct write."""
    calls = [
        (path.relative_to(ROOT).as_posix(), call)
        for path in sorted(ROOT.rglob("*.py"))
        for call in direct_writes(ast.parse(path.read_text(encoding="utf-8")))
    ]
    return [
        (name, f"{name}:{call.lineno}: {ast.unparse(call)[:70]}")
        for name, call in calls
        if name not in WRITER
    ]


def test_no_result_is_written_past_the_writer():
    allowed = {name for names in ALLOWED.values() for name in names}
    past = [text for name, text in found() if name not in allowed]
    assert past == [], "use harness.whole, or say in ALLOWED why a kill may leave half of it"


def test_what_is_allowed_is_still_done():
    allowed = {name for names in ALLOWED.values() for name in names}
    assert allowed - {name for name, _ in found()} == set()


@pytest.mark.parametrize(
    ("code", "writes"),
    [
        ("path.write_text(text)", True),
        ("np.savez(file, a=1)", True),
        ("open(path, 'w')", True),
        ("path.open('xb')", True),
        ("path.open(mode='r+')", True),
        ("os.open(path, os.O_CREAT | os.O_RDWR)", True),
        ("json.dump(tree, file)", True),
        ("cv2.imwrite(name, frame)", True),
        ("write_text(path, text)", False),
        ("path.open('rb')", False),
        ("path.open(encoding='utf-8')", False),
        ("system.open({'mode': 'w'})", False),
        ("tree.copy()", False),
        ("with whole_folder(path) as aside: (aside / 'a').write_text(text)", False),
        ("with lock, whole_file(path) as file: np.savez(file, a=1)", False),
        ("with lock: (aside / 'a').write_text(text)", True),
    ],
)
def test_a_direct_write_is_told_from_others(code, writes):
    assert bool(list(direct_writes(ast.parse(code)))) is writes
