"""Weights to scores: evaluator, recalibration, ranking, which batches are used."""
