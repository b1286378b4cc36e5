"""A flow in a LightningModule, with a callback that refits its Gaussians.

    pip install ".[lightning,zuko,examples]"
    python examples/flows/lightning_digits.py [--epochs 20] [--out lightning_digits.png]

Ten to twenty seconds on one core.
"""

import lightning
import torch
import zuko
from _digits import Digits, arguments

from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentAugmentation, LatentGaussians
from fpigauss_torch.lightning import FixedPointCallback


class DigitsModule(lightning.LightningModule):
    """A spline flow over ten Gaussians."""

    def __init__(self):
        """Make the flow, its Gaussians, and the model of both."""
        super().__init__()
        flow = zuko.flows.NSF(64, transforms=3, passes=2, randperm=True, hidden_features=(128,))
        self.model = ClassFlow(flow, LatentGaussians(n_classes=10, dim=64))

    def training_step(self, batch):
        """Compute the negative log-likelihood."""
        return self.model(*batch).mean()

    def configure_optimizers(self):
        """Use Adam with a learning rate that goes up and down once."""
        optimizer = torch.optim.Adam(self.parameters())
        n_steps = self.trainer.estimated_stepping_batches
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=n_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": rate, "interval": "step"},
        }


def main():
    """Train a flow, and show what it learned."""
    options = arguments(__doc__, "lightning_digits", epochs=20)
    digits = Digits()
    module = DigitsModule()
    digits.report(module.model, "untrained")

    # it finds the ClassFlow as module.model, and encodes the trainer's own training data
    refits = FixedPointCallback(FixedPointSchedule())
    trainer = lightning.Trainer(
        max_epochs=options.epochs,
        callbacks=[refits],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(module, digits.loader)
    digits.report(module.model, "trained")

    augment = LatentAugmentation(module.model, strength=0.8, seed=0)
    digits.picture(module.model, augment, options.out)


if __name__ == "__main__":
    main()
