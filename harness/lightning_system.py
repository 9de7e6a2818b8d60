"""A LightningModule with its DataModule behind the protocol, on :mod:`harness.torch_system`.

``harness init-adapter --lightning adapter.py`` writes an adapter that is made of it.
"""

from __future__ import annotations

from typing import Any

import lightning
import torch

from harness.torch_system import FlowSample, NotApplicableError, TorchSystem

__all__ = ["FlowSample", "LightningSystem", "NotApplicableError"]

_ONE_DEVICE = {"accelerator": "auto", "devices": 1}
_QUIET = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


class LightningSystem(TorchSystem):
    """An adapter of a LightningModule; a subclass says what is its own.

    Attributes
    ----------
    metric : str
        Name under which ``validation_step`` logs the EPE, px.
    resume : str
        Checkpoint that the next :meth:`begin` goes on from; empty: none.
    module, trainer : lightning.LightningModule, lightning.Trainer
        Those of the training that is held.
    """

    metric = "val_epe"
    resume = ""
    module: Any = None
    trainer: Any = None

    # ---- yours

    def build(self) -> tuple[Any, Any]:
        """Seed everything; return the module and its data module, as ``Trainer.fit`` gets them."""
        raise NotImplementedError

    def val_loader(self, samples: list[FlowSample]) -> Any:
        """Return a DataLoader of your validation's data set, of these samples alone."""
        raise NotImplementedError

    def trainer_options(self) -> dict[str, Any]:
        """Return what else your ``Trainer`` is given: callbacks, clipping, precision."""
        return {}

    # ---- what the base asks

    def loop(self) -> None:
        """Fit until ``train.num_epochs`` are completed, from a checkpoint if one is named."""
        options = {**_ONE_DEVICE, **_QUIET, **self.trainer_options()}
        module, data = self.build()
        trainer = lightning.Trainer(max_epochs=self.config["train"]["num_epochs"], **options)
        self.module, self.trainer = module, trainer
        trainer.fit(module, datamodule=data, ckpt_path=self.resume or None)

    def validate(self, samples: list[FlowSample]) -> float:
        """Return what ``validation_step`` logs of these samples, px, by a trainer of its own.

        It computes where your ``Trainer`` does, and in its precision.
        """
        held, modes = self.trainer, [(m, m.training) for m in self.module.modules()]
        device = self.module.device
        # It draws a seed for its workers, which training would notice.
        before = torch.get_rng_state()
        trainer = lightning.Trainer(**self._alike())
        try:
            found = trainer.validate(self.module, self.val_loader(samples), verbose=False)
        finally:
            torch.set_rng_state(before)
            self.module.trainer = held
            # Any trainer that ends leaves its module on the CPU.
            self.module.to(device)
            for module, training in modes:
                module.training = training
        return float(found[0][self.metric])

    def _alike(self) -> dict[str, Any]:
        """Return options of a trainer that scores as the one that fits."""
        given = self.trainer_options()
        own = {name: given[name] for name in given.keys() & {"accelerator", "precision"}}
        # Fit validates so: what a metric makes in inference mode, training could not change.
        return {**_ONE_DEVICE, "inference_mode": False, **_QUIET, **own}

    def _look_for_parts(self) -> None:
        """Collect what holds state: of the module and of its trainer."""
        if self.trainer is None or self.module is None:
            return
        parts = {"module": self.module}
        for index, optimizer in enumerate(self.trainer.optimizers):
            parts[f"optimizer{index or ''}"] = optimizer
        for index, config in enumerate(self.trainer.lr_scheduler_configs):
            parts[f"scheduler{index or ''}"] = config.scheduler
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            parts["scaler"] = scaler
        self.parts = parts
