"""A run that is scored, shown and looked at: the same numbers in every place."""

import csv
import json
from pathlib import Path

import pytest

from tests.test_whole_space import run, trained

__all__ = ["trained"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scored(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("scored")
    # A table of archs of an earlier evaluation is replaced.
    (folder / "e.csv").write_text("arch,epe_px,macs\n")
    text = run("eval", "--run", trained, "--checkpoint", "last", "--pool", 40, "--json",
               folder / "e.json", "--csv", folder / "e.csv")  # fmt: skip
    return folder, text


def test_line_table_and_json_of_an_evaluation_agree(scored: tuple[Path, str]) -> None:
    folder, text = scored
    found = json.loads((folder / "e.json").read_text())
    rows = list(csv.DictReader((folder / "e.csv").read_text().splitlines()))
    assert len(rows) == 40
    assert [row["arch"] for row in rows] == found["archs"]
    assert [float(row["epe_px"]) for row in rows] == found["per_arch_epe"]
    for kind in ("macs", "parameters"):
        assert [int(row[kind]) for row in rows] == found["space"][kind]
        on = {row["arch"] for row in rows if row[f"on_front_{kind}"] == "1"}
        assert on == set(found["space"]["fronts"][kind])
    for row in rows:
        if row["on_front_macs"] == "1":
            line = f"{row['arch']}  {float(row['epe_px']):8.6f}  {int(row['macs']):16,d}"
            assert line in text
    for effect in found["space"]["effects"]["effects"]:
        assert f"{effect['effect']:+9.4f}" in text
        assert effect["over_archs"] > 0
        assert effect["over_samples"] > 0


def test_the_page_holds_the_scores_of_the_files(
    trained: Path, scored: tuple[Path, str], tmp_path: Path
) -> None:
    found = json.loads((scored[0] / "e.json").read_text())
    run("report", trained, "--space", scored[0] / "e.json", "--out", tmp_path / "r.html", "--json",
        tmp_path / "r.json")  # fmt: skip
    told = json.loads((tmp_path / "r.json").read_text())
    named, own = told["spaces"]
    assert named["fronts"] == found["space"]["fronts"]
    assert (named["macs"], named["parameters"]) == (
        found["space"]["macs"], found["space"]["parameters"],
    )  # fmt: skip
    assert [e["effect"] for e in named["effects"]["effects"]] == pytest.approx(
        [e["effect"] for e in found["space"]["effects"]["effects"]], rel=1e-9
    )
    assert own["effects"]["effects"] == []
    assert "3 archs cannot tell the effects" in own["effects"]["reason"]
    assert [tau["archs"] for tau in told["taus"]] == [3]


def test_what_an_arch_predicts_scores_as_it_did(
    trained: Path, scored: tuple[Path, str], tmp_path: Path
) -> None:
    found = json.loads((scored[0] / "e.json").read_text())
    archs = found["archs"][:2]
    run("view", "batch:1", "batch:2", "--run", trained, "--checkpoint", "last", "--arch", *archs,
        "--out", tmp_path / "v.html", "--json", tmp_path / "v.json")  # fmt: skip
    samples = json.loads((tmp_path / "v.json").read_text())["samples"]
    assert len(samples) == found["samples"] == 5
    for arch, epe in zip(archs, found["per_arch_epe"], strict=False):
        mean = sum(sample["predicted"][arch] for sample in samples) / len(samples)
        assert mean == pytest.approx(epe, rel=1e-12)
    assert (tmp_path / "v.html").read_text().count("<figure") == 5 * (3 + 2 * 2)
