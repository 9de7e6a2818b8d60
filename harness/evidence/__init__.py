"""What happened: records, observations, the ledger, and digests. NumPy and stdlib only."""
