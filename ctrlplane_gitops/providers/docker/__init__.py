"""Replicas as containers of one Docker engine, through the SDK's low-level API."""
