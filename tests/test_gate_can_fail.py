import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from harness.environment import apply_environment
from harness.relations import RELATIONS
from harness.scenarios.setting import embedded_config
from tests.faulty import FAULTS


@pytest.fixture
def config(embedded_frames: Path) -> Any:
    setting = embedded_config(embedded_frames)
    apply_environment(setting)
    return setting.model_dump(mode="json", by_alias=True)


def book_of(factory: Any, config: Any, folder: Path) -> Any:
    from harness.scenarios.book import Book
    from harness.scenarios.registry import SCENARIOS
    from harness.systems.spec import SystemSpec

    return Book(factory, SystemSpec(), config, folder, SCENARIOS)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_by_the_relation_that_should(
    fault: str, config: Any, tmp_path: Path
) -> None:
    from harness.systems.builtin import BuiltinSystem
    from harness.systems.parts import Parts

    make, expected = FAULTS[fault]
    book = book_of(lambda: BuiltinSystem(make()(Parts())), config, tmp_path)
    fired = [i for i in expected if RELATIONS[i].check(book[RELATIONS[i].needs]).violations]
    assert fired == list(expected)


def test_an_evaluation_that_writes_moving_statistics_is_caught(config: Any, tmp_path: Path) -> None:
    from harness.systems.builtin import BuiltinSystem

    class Writes(BuiltinSystem):
        def evaluate(self, *args: Any, **kwargs: Any) -> Any:
            found = super().evaluate(*args, **kwargs)
            mean, _ = self.session.model.moving["E0"]
            mean.assign(mean * 0.9)
            return found

    book = book_of(Writes, config, tmp_path)
    violations = RELATIONS["eval-pure"].check(book["purity"]).violations
    assert [v.where for v in violations] == ["state after eval E0/moving_mean"]


def test_a_recalibration_without_effect_is_caught(config: Any, tmp_path: Path) -> None:
    from harness.systems.builtin import BuiltinSystem

    class NoOp(BuiltinSystem):
        def recalibrate(self, arch: str, *, inputs: bool = False) -> Any:
            found, moving = super().recalibrate(arch, inputs=inputs), self.session.model.moving
            held = {u: tuple(v.numpy() for v in moving[u]) for u in found.stats}
            return dataclasses.replace(found, stats=held)

    book = book_of(NoOp, config, tmp_path)
    violations = RELATIONS["recal-effective"].check(book["recal_pair"]).violations
    assert any("0 of 26 changed" in str(v) for v in violations)


def test_an_evaluation_by_the_moving_statistics_is_caught(config: Any, tmp_path: Path) -> None:
    from harness.systems.builtin import BuiltinSystem

    class Moving(BuiltinSystem):
        def open(self, tree: Any) -> None:
            super().open(tree)
            model, evaluator = self.session.model, self.session.evaluator
            predict = evaluator.predict

            def by_moving(weights: Any, arch: Any, stats: Any, batch: Any) -> Any:
                held = {u: tuple(v.numpy() for v in model.moving[u]) for u in stats}
                return predict(weights, arch, held, batch)

            evaluator.predict = by_moving

    book = book_of(Moving, config, tmp_path)
    violations = RELATIONS["recal-effective"].check(book["recal_pair"]).violations
    assert "evaluation normalises with the moving statistics" in str(violations[0])
    violations = RELATIONS["metric-recomputed"].check(book["recomputation"]).violations
    assert violations


def test_a_fabricated_epoch_row_is_caught(config: Any, tmp_path: Path) -> None:
    from harness.systems.builtin import BuiltinSystem

    class Fabricates(BuiltinSystem):
        def train(self, *args: Any, **kwargs: Any) -> Any:
            found = super().train(*args, **kwargs)
            rows = tuple(dataclasses.replace(row, mean_epe_12=1.0) for row in found.epochs)
            return dataclasses.replace(found, epochs=rows)

    book = book_of(Fabricates, config, tmp_path)
    violations = RELATIONS["epoch-rows-add-up"].check(book["epoch_rows"]).violations
    assert [v.where for v in violations] == ["epoch 2, mean_epe_12"]


def test_a_run_that_trains_on_after_nan_is_caught(config: Any, tmp_path: Path) -> None:
    from harness.systems.builtin import BuiltinSystem
    from harness.training.finite import NonFiniteError

    class Silent(BuiltinSystem):
        def train(self, *args: Any, **kwargs: Any) -> Any:
            with contextlib.suppress(NonFiniteError):
                return super().train(*args, **kwargs)

    book = book_of(Silent, config, tmp_path)
    violations = RELATIONS["nan-stops"].check(book["planted_nan"]).violations
    assert "it went on" in str(violations[0])
