"""Replicas as local processes, each under a keeper of its own that outlives us."""
