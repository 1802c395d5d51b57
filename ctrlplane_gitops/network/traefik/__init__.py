"""Traefik by its file provider: one file per route, confirmed by its API and a probe."""
