"""Kubernetes API servers: who the operator lets us be there, and requests as raw JSON."""
