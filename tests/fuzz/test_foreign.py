"""What other trainers leave, damaged: refused in one line, or audited to the end."""

import functools
import io
import json
import shutil
from contextlib import redirect_stdout
from dataclasses import asdict

import pytest

from harness.commands.foreign import _json, _lines, foreign_findings
from harness.errors import InputError
from harness.foreign.history import foreign_history
from harness.foreign.judging import Subject, ZeroFlow
from harness.foreign.recognise import read_foreign
from harness.reporting.curves import PANELS, drawing, view
from harness.reporting.summary import summary
from tests.foreign_runs import Made, write_edgeflownas, write_lightning, write_mmengine
from tests.fuzz.fuzzing import OTHERS, counts, run_cases, seed
from tests.fuzz.mutators import BYTES, CSV, JSON, JSON_LINES, LINES, one_of

META = "checkpoints/supernet_last.ckpt.meta.json"
FILES = {
    "train.log": one_of(*BYTES, *LINES),
    "eval_epe_history.csv": one_of(*BYTES, *LINES, *CSV, *CSV),
    META: one_of(*BYTES, *JSON, *JSON),
    "fairness_counts.json": one_of(*BYTES, *JSON),
    "run_manifest.json": one_of(*BYTES, *JSON, *JSON),
    "metrics.csv": one_of(*BYTES, *LINES, *CSV, *CSV),
    "vis_data/scalars.json": one_of(*BYTES, *LINES, *JSON_LINES),
}


def audited(folder, path, _, content):
    """Return what all that looks at a run makes of it; text alone is of interest."""
    path.write_bytes(content)
    run = read_foreign(folder, {})
    subject = Subject(run, run.plan.over(run.configured), run.configured, ZeroFlow(7.5, "given"))
    findings = foreign_findings(subject)
    shown = view("a", foreign_history(subject), across=False)
    for panel in PANELS:
        drawing(panel, [shown])
    json.dumps(asdict(summary(shown)), allow_nan=False)
    return _lines(folder, subject, findings), _json(subject, findings)


def as_a_page_may_show_it(_, found):
    lines, result = found
    json.dumps(result, allow_nan=False)
    wrong = [line for line in lines if not line.isprintable()]
    return f"a line of several, or with controls: {wrong[0]!r}" if wrong else None


@pytest.mark.parametrize("name", FILES)
@counts(OTHERS, few=60)
def test_a_damaged_run_of_another_trainer(count, name, tmp_path):
    folder = tmp_path / "run"
    if name == "metrics.csv":
        write_lightning(folder)
    elif name == "vis_data/scalars.json":
        write_mmengine(folder)
    else:
        write_edgeflownas(folder, Made(generation="902a0e1", epochs=3, threshold=60.0))
    path = folder / name
    read = functools.partial(audited, folder, path)
    with redirect_stdout(io.StringIO()) as said:
        tally = run_cases(
            f"foreign-{path.name}", originals={name: path.read_bytes()}, mutate=FILES[name],
            read=read, judge=as_a_page_may_show_it, count=count, seed=seed(),
            expected=(InputError,), named=lambda _: str(folder),
        )  # fmt: skip
        tally.require_clean()
    shutil.rmtree(folder)
    print(said.getvalue())  # noqa: T201 -- count and seed are to be seen
