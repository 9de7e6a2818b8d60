"""What happened, as records: a ledger on disk, and views of a run."""
