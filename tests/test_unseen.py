"""What a foreign system does not show is not applicable; of ours it is broken."""

from pathlib import Path

import pytest

from harness.environment import apply_environment
from harness.fc2.synthetic import write_dataset
from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import PROMISES
from harness.promises.second_process import FROM_CHECKPOINTS
from harness.promises.setting import embedded_config
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec

HERE = Path(__file__).parent / "numpy_trainer"
QUICK = [name for name, promise in PROMISES.items() if promise.tier == "quick"]
HEAD = f"import sys\nsys.path.insert(0, {str(HERE)!r})\n"
SYSTEMS = {
    # Two nets by the names that somebody gave them, and a log of steps alone.
    "Named": """
import trainer
for old, new in (("half", "0"), ("full", "1")):
    trainer.WIDTHS[new] = trainer.WIDTHS.pop(old)
from adapter import NumpySystem

class Named(NumpySystem):
    pass
""",
    # It does what it is asked for, and tells nothing of it.
    "Silent": """
from adapter import NumpySystem

class Silent(NumpySystem):
    def train(self, epochs, evaluate=True, observe=True, steps=None):
        super().train(epochs, evaluate, observe, steps)
        return {}

    def batches(self, role, epoch=1):
        return []
""",
    # Rows of a log that lacks most columns, and no clip checks.
    "Logged": """
from adapter import NumpySystem

COLUMNS = (
    "mean_epe_12 std_epe_12 fairness_gap lr bn_recal_batches eval_batches_per_arch "
    "train_loss_epoch_avg train_grad_norm_epoch_avg grad_norm_p50 grad_norm_p90 grad_norm_p99 "
    "clip_checks expected_clip_checks clip_count clip_rate eval_seconds bn_recal_seconds "
    "per_arch_epe_min per_arch_epe_median per_arch_epe_max kendall_tau_prev eval_batch_hash "
    "bn_recal_batch_hash zero_flow_epe best_epe"
).split()

class Logged(NumpySystem):
    def describe(self):
        return dict(super().describe(), settings={"train.clip_position": "update"})

    def train(self, epochs, evaluate=True, observe=True, steps=None):
        import math
        done, before = self.trainer.epoch, self.trainer.lr
        found = super().train(epochs, evaluate, observe, steps)
        rows = []
        for epoch in range(done + 1, self.trainer.epoch + 1):
            reasons = dict.fromkeys(COLUMNS, "not logged by this system")
            total = epoch * len(self.trainer.plan(1))
            rows.append(dict(dict.fromkeys(COLUMNS), epoch=epoch, global_step=total,
                             reasons=reasons))
        return dict(found, epochs=rows)
""",
}


def judged(source, name, folder, *, samples):
    """Return the judgement of each quick promise of a system on so many samples per split."""
    (folder / "system.py").write_text(HEAD + source)
    write_dataset(folder / "data", train=samples, val=samples, height=53, width=75)
    spec, workers = SystemSpec(f"{folder / 'system.py'}:{name}"), Workers()
    config = embedded_config(folder / "data")
    apply_environment(config)
    tree = config.model_dump(mode="json", by_alias=True)
    if name == "Logged":
        tree["train"]["clip_position"] = "update"
    bench = Bench(system_factory(spec, workers), spec, tree, folder / "bench", FROM_CHECKPOINTS)
    found = {name: judge(PROMISES[name], bench) for name in QUICK}
    bench.close()
    workers.close()
    return found


@pytest.mark.parametrize(("name", "samples"), [("Named", 1), ("Silent", 2), ("Logged", 3)])
def test_nobody_is_accused_of_what_was_not_seen(name, samples, tmp_path):
    found = judged(SYSTEMS[name], name, tmp_path, samples=samples)
    accused = {n: j.text for n, j in found.items() if j.verdict not in ("holds", "n/a")}
    assert accused == {}
    assert found["same-scores-again"].verdict == "holds"
    assert all(j.text for j in found.values())
