"""The base of a LightningModule's adapter: its scores cost the training that is held nothing."""

from importlib.util import find_spec

import pytest

from tests.test_init_adapter import gate, needed, written

STEP = "    def validation_step(self, batch, index):\n"
"""The first line of the template's ``validation_step``."""

COUNTED = (
    "    seen = torch.zeros(())\n\n"
    "    def on_validation_epoch_end(self):\n"
    "        self.seen = torch.zeros(())\n\n"
    f"{STEP}"
    "        self.seen += 1\n"
)
"""A count that is changed in place and begins anew with a tensor, as metrics do."""


@pytest.mark.slow
def test_what_a_metric_keeps_between_validations_can_be_changed_by_training(tmp_path):
    needed("lightning")
    path = written("lightning", tmp_path)
    text = path.read_text()
    assert text.count(STEP) == 1
    path.write_text(text.replace(STEP, COUNTED))
    code, said, found = gate(path, tmp_path, "--promise", "eval-pure", "same-scores-again")
    assert code == 0, said
    assert set(found.values()) == {"holds"}


@pytest.mark.skipif(
    find_spec("lightning") is None, reason="needs lightning, which is not installed"
)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Lightning's own imports
def test_a_score_is_of_the_precision_of_fit_and_leaves_the_module_on_its_device():
    import lightning
    import torch
    from torch.utils.data import DataLoader

    from harness.lightning_system import LightningSystem

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer, self.moves = torch.nn.Linear(3, 1), []

        def validation_step(self, batch, index):
            self.log("val_epe", float(self.layer(batch).dtype == torch.bfloat16))

        def to(self, *where, **how):
            self.moves.append(where)
            return super().to(*where, **how)

        def cpu(self):
            self.moves.append(("taken off",))
            return super().cpu()

    class Mine(LightningSystem):
        precision = "bf16-mixed"

        def val_loader(self, samples):
            return DataLoader(torch.ones(len(samples), 3))

        def trainer_options(self):
            return {"accelerator": "cpu", "precision": self.precision, "max_steps": 3}

    system = Mine()
    system.module = Module().train()
    system.module.layer.eval()
    assert system.validate([None, None]) == 1.0
    assert system.module.moves[-2:] == [("taken off",), (torch.device("cpu"),)]
    assert system.module.training
    assert not system.module.layer.training
    system.precision = "32-true"
    assert system.validate([None]) == 0.0
