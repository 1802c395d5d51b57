"""Certificates that are not secrets: who issues them, and where they lie."""
