"""Seconds of evaluation, decoding, training and checkpoints at one small setting."""
