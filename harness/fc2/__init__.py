"""Files on disk to batches: layout, decoding, crops, order, provider, frozen batches."""
