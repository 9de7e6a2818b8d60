"""Runs of other trainers, by the files that they leave: readers, one common form, checks."""
