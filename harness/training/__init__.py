"""Steps to weights: trainer, clipping, schedule, checkpoints, the epoch log."""
