"""Probes run by us, and the verdict on a replica they lead to."""
