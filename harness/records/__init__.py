"""What happened, as records: a ledger on disk, and one view of a run."""
