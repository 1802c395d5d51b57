"""Forges: what became of a commit, written back to where it was pushed."""
