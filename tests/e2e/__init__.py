"""Acceptance: the command line, real Git repositories, replicas that really run."""
